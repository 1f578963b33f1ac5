"""Runs phases in order and makes the report; what was measured before a failure is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import redis

import outrider
from outrider.errors import BadArgument, OutriderError
from outrider.validation.env import Env, Skipped
from outrider.validation.figure import Figure, Phase, Report, State
from outrider.validation.phases import baseline, cache, database, load, monitoring, processes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

# A phase hands out each figure as it is measured, so that none is lost when a later one fails.
Measure = Callable[[Env], Iterator[Figure]]
PHASES: Mapping[str, Measure] = MappingProxyType(
    {
        "baseline": baseline.run,  # first: what is, before we make work
        "database": database.run,
        "cache": cache.run,
        "processes": processes.run,
        "monitoring": monitoring.run,
        "load": load.run,  # last: it would disturb the others
    }
)


class Progress(Protocol):
    """Hears how the run goes: a phase is ``running``, then passed, failed or skipped."""

    def __call__(self, name: str, state: str, detail: str) -> None:
        """Show that a phase is in this state."""
        ...


def chosen(names: Sequence[str] | None, known: Mapping[str, Measure] = PHASES) -> list[str]:
    """Return the phases to run, in their own order; all when none is named.

    >>> chosen(["load", "baseline", "load"])
    ['baseline', 'load']

    Raises:
        BadArgument: there is no such phase.
    """
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise BadArgument(
            f"there is no phase {', '.join(map(repr, unknown))}; known: {', '.join(known)}."
        )
    return [name for name in known if not names or name in names]


def run(
    env: Env,
    names: Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
    phases: Mapping[str, Measure] = PHASES,
) -> Report:
    """Run phases one after the other and return the report. All of them take half a minute.

    A phase that raises is failed with the reason, and the next one runs.

    Raises:
        BadArgument: there is no such phase; nothing was run.
    """
    tell = progress or _nobody
    started_s, start = time.time(), time.monotonic()
    done = []
    for name in chosen(names, phases):
        tell(name, "running", "")
        phase = _run_one(name, phases[name], env)
        tell(name, phase.state, _detail(phase))
        done.append(phase)
    states = {phase.state for phase in done}
    return Report(
        run=env.run,
        host=env.settings.host,
        version=outrider.__version__,
        started_s=started_s,
        seconds=time.monotonic() - start,
        passed="failed" not in states and "passed" in states,
        phases=tuple(done),
    )


def _run_one(name: str, measure: Measure, env: Env) -> Phase:
    started_s, start = time.time(), time.monotonic()
    figures: list[Figure] = []
    state: State = "passed"
    reason = ""
    try:
        for figure in measure(env):
            figures.append(figure)  # noqa: PERF402 - each is kept, whatever the next one raises
    except Skipped as nothing:
        state, reason = "skipped", str(nothing)
    except OutriderError as error:  # its text names the remedy
        state, reason = "failed", str(error)
    except (redis.RedisError, OSError) as error:  # away, which needs no traceback
        state, reason = "failed", f"{type(error).__name__}: {error}"
    except Exception as error:
        logger.exception("validation: phase %s broke off", name)
        state, reason = "failed", f"{type(error).__name__}: {error}"
    missed = [figure.name for figure in figures if figure.passed is False]
    if missed:
        said = f"targets missed: {', '.join(missed)}"
        state, reason = "failed", f"{reason}; {said}" if reason else said
    return Phase(name, state, reason, started_s, time.monotonic() - start, tuple(figures))


def _detail(phase: Phase) -> str:
    counted = f"{len(phase.figures)} figures in {phase.seconds:.1f} s"
    return f"{counted}; {phase.reason}" if phase.reason else counted


def _nobody(_name: str, _state: str, _detail: str) -> None:
    return
