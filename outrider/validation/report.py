"""A report as JSON and in words, and where it is kept: Redis for 30 days, and a file."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider import units
from outrider.errors import BadArgument
from outrider.store import keys
from outrider.validation.figure import Figure, Phase, Report

if TYPE_CHECKING:
    from pathlib import Path

    import redis

TTL_S = 30 * 86_400
_DIVISIONS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def plain(report: Report) -> dict[str, Any]:
    """Return a report as JSON-able data."""
    return asdict(report)


def parse(data: Any) -> Report:
    """Return the report that :func:`plain` was given.

    Raises:
        BadArgument: the data is not a report; the text says where it differs.
    """
    try:
        return msgspec.convert(data, Report)
    except msgspec.ValidationError as error:
        raise BadArgument(
            f"this is no validation report ({error}); make one with `outrider validate`."
        ) from None


def keep(client: redis.Redis, report: Report) -> None:
    """Keep a report in Redis as the newest one, for 30 days."""
    with client.pipeline(transaction=True) as pipe:
        pipe.set(keys.validation(report.run), json.dumps(plain(report)), ex=TTL_S)
        pipe.set(keys.VALIDATION_NEWEST, report.run, ex=TTL_S)
        pipe.execute()


def newest(client: redis.Redis) -> Report | None:
    """Return the report of the newest run, or None when there is none."""
    run = cast("bytes | None", client.get(keys.VALIDATION_NEWEST))
    stored = cast("bytes | None", client.get(keys.validation(run.decode()))) if run else None
    return parse(json.loads(stored)) if stored else None


def path_of(data_dir: Path, run: str) -> Path:
    """Return where a run's report is written by default."""
    return data_dir / "reports" / f"validation-{run}.json"


def file(data_dir: Path, report: Report) -> Path:
    """Write a report into the data folder and remove what is older than in Redis. Return its path.

    Raises:
        BadArgument: the folder can't be written to.
    """
    path = path_of(data_dir, report.run)
    write(path, report)
    for old in path.parent.glob(path_of(data_dir, "*").name):
        with contextlib.suppress(OSError):  # another run may be removing it as well
            if old.stat().st_mtime < report.started_s - TTL_S:
                old.unlink()
    return path


def write(path: Path, report: Report) -> None:
    """Write a report, whole or not at all.

    Raises:
        BadArgument: the path can't be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(plain(report), indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise BadArgument(
            f"the report can't be written to {path} ({error.strerror}); name another --output."
        ) from None


def summary(report: Report) -> dict[str, Any]:
    """Return the outcome without the figures that met their targets; what a task answers."""
    return {
        "run": report.run,
        "passed": report.passed,
        "seconds": round(report.seconds, 3),
        "phases": [
            {
                "name": phase.name,
                "state": phase.state,
                "reason": phase.reason,
                "figures": len(phase.figures),
                "missed": [in_words(figure) for figure in phase.missed],
            }
            for phase in report.phases
        ],
    }


def verdict(report: Report) -> str:
    """Return the outcome in one sentence."""
    names = {
        state: [phase.name for phase in report.phases if phase.state == state]
        for state in ("passed", "failed", "skipped")
    }
    skipped = f"; skipped: {', '.join(names['skipped'])}" if names["skipped"] else ""
    if names["failed"]:
        missed = sum(len(phase.missed) for phase in report.phases)
        return (
            f"validation failed in {', '.join(names['failed'])}: "
            f"{missed} {'target' if missed == 1 else 'targets'} missed{skipped}."
        )
    if not names["passed"]:
        return f"nothing was validated{skipped}."
    judged = sum(figure.passed is True for phase in report.phases for figure in phase.figures)
    return f"validation passed: {judged} targets met{skipped}."


def rows(phase: Phase) -> list[tuple[str, str, str, str, str]]:
    """Return a phase as lines of a table: figure, measured, target, verdict, note."""
    return [
        (
            figure.name.removeprefix(f"{phase.name}."),
            shown(figure.value, figure.unit),
            target_shown(figure),
            {True: "ok", False: "missed", None: ""}[figure.passed],
            figure.note,
        )
        for figure in phase.figures
    ]


def in_words(figure: Figure) -> str:
    """Return a figure in a line.

    >>> in_words(Figure("cache.miss.p50_s", 0.0052, "s", 0.004, "<=", False))
    'cache.miss.p50_s = 5.2 ms, target <= 4 ms'
    """
    measured = f"{figure.name} = {shown(figure.value, figure.unit)}"
    target = f", target {target_shown(figure)}" if figure.comparison else ""
    return f"{measured}{target}" + (f" ({figure.note})" if figure.note else "")


def target_shown(figure: Figure) -> str:
    """Return a figure's target for people, or nothing when it has none."""
    if figure.target is None:
        return ""
    return f"{figure.comparison} {shown(figure.target, figure.unit)}"


def shown(value: float | str | None, unit: str) -> str:
    """Return a value for people.

    >>> shown(0.00042, "s"), shown(0.985, "ratio"), shown(419430400, "bytes"), shown(None, "s")
    ('420 µs', '98.5 %', '400.0 MiB', 'not measured')
    """
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    match unit:
        case "s":
            return _duration(value)
        case "ratio":
            return f"{100 * value:.4g} %"
        case "bytes":
            return units.show_bytes(value)
        case _:
            return f"{value:.4g} {unit}".rstrip()


def _duration(seconds: float) -> str:
    if seconds >= 60:  # noqa: PLR2004 - from a minute on as people say it
        return units.show_duration(seconds)
    for size, unit in _DIVISIONS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
