"""What to run: a bot of the settings, or a part of the stack, as one plain description."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from outrider import units
from outrider.errors import UnknownBot
from outrider.settings import BotSettings, Foreign, Settings, instance_names
from outrider.supervisor import probes
from outrider.supervisor.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Readiness = Literal["sdk", "alive", "probe"]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a process that ended is started again."""

    strategy: Literal["always", "on-failure", "never"] = "always"
    backoff_s: tuple[float, ...] = (0.0, 0.1, 1.0, 5.0)
    most: int = 5
    window_s: float = 60.0
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process. ``name`` is unique; ``bot`` groups the instances of one bot."""

    name: str
    argv: tuple[str, ...]
    bot: str = ""
    kind: Literal["bot", "stack"] = "bot"
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    readiness: Readiness = "alive"
    probe: Callable[[], str] | None = None
    ready_timeout_s: float = 30.0
    stop_signal: int = signal.SIGTERM
    grace_s: float = 10.0
    needs: tuple[str, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    liveness: Liveness | None = None
    memory_limit_bytes: int | None = None
    cpu_limit: float | None = None
    processes_limit: int | None = None
    foreign: Foreign | None = None
    cores: float | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    autostart: bool = True
    entry: str | None = None  # what a zygote may run in place of argv
    preload: tuple[str, ...] = ()


def of_bot(
    name: str,
    settings: Settings,
    *,
    base: Path,
    env_of: Callable[[str], Mapping[str, str]],
    count: int | None = None,
) -> list[ProcessSpec]:
    """Return the processes of one bot, ``count`` of them or as many as the settings say.

    ``base`` is the settings file's folder: the default working folder, where entries are imported.
    ``env_of(name)`` returns what is added to the environment of that bot.

    Raises:
        UnknownBot: the settings declare no such bot.
    """
    bot = settings.bots.get(name)
    if bot is None:
        known = ", ".join(sorted(settings.bots)) or "none"
        raise UnknownBot(f"no bot {name!r}; this fleet has: {known}.")
    most, window_s = units.parse_rate(bot.restart.intensity)
    probe = probes.of_settings(bot.probe) if bot.probe else None
    return [
        ProcessSpec(
            name=instance,
            bot=name,
            argv=_argv(bot),
            cwd=str(base / bot.cwd if bot.cwd else base),
            env={**env_of(name), **bot.env, "OUTRIDER_BOT": instance},
            readiness=_readiness(bot),
            probe=probe,
            ready_timeout_s=bot.ready_timeout_s,
            stop_signal=signal.Signals[bot.stop_signal],
            grace_s=bot.grace_s,
            needs=bot.needs,
            restart=RestartPolicy(
                bot.restart.strategy, bot.restart.backoff_s, most, window_s, bot.restart.jitter
            ),
            liveness=_liveness(bot, probe),
            memory_limit_bytes=bot.limits.memory,
            entry=bot.entry if bot.fork else None,
            preload=bot.preload,
            cpu_limit=bot.limits.cpu_hard,
            processes_limit=bot.limits.processes,
            foreign=bot.foreign,
            autostart=bot.foreign is None,
            cores=bot.limits.cpu,
            priority=bot.limits.priority,
        )
        for instance in instance_names(name, bot.first_instances if count is None else count)
    ]


def of_fleet(
    settings: Settings, *, base: Path, env_of: Callable[[str], Mapping[str, str]]
) -> list[ProcessSpec]:
    """Return every bot process of the settings."""
    return [
        spec for name in settings.bots for spec in of_bot(name, settings, base=base, env_of=env_of)
    ]


def environment(spec: ProcessSpec) -> dict[str, str]:
    """Return the full environment of a process: ours, with its own values on top."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **spec.env}


def digest(spec: ProcessSpec) -> str:
    """Return what tells whether a running process was started as its settings now say."""
    started = [spec.argv, spec.cwd, sorted(spec.env.items())]
    return hashlib.sha256(json.dumps(started).encode()).hexdigest()[:16]


def _argv(bot: BotSettings) -> tuple[str, ...]:
    if bot.entry:
        return (sys.executable, "-m", "outrider.supervisor.entry", bot.entry)
    return bot.command or ()


def _readiness(bot: BotSettings) -> Readiness:
    return bot.readiness or ("probe" if bot.probe else "sdk" if bot.entry else "alive")


def _liveness(bot: BotSettings, probe: Callable[[], str] | None) -> Liveness | None:
    """Return what a bot must do to be taken for alive; None for one that nothing is known of."""
    said = bot.liveness
    heartbeat_s = (said.heartbeat_s or None) if _readiness(bot) == "sdk" else None
    if heartbeat_s is None and said.loop_lag_s is None and probe is None:
        return None
    return Liveness(heartbeat_s, said.loop_lag_s, probe, said.probe_every_s, said.failures)
