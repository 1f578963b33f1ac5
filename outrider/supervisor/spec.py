"""What to run: a bot of the settings, or a part of the stack, as one plain description."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from outrider import units
from outrider.errors import UnknownBot
from outrider.settings import BotSettings, Settings, instance_names

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
    probe: Callable[[], bool] | None = None
    ready_timeout_s: float = 30.0
    grace_s: float = 10.0
    needs: tuple[str, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    memory_limit_bytes: int | None = None
    cpu_limit: float | None = None
    priority: Literal["low", "normal", "high"] = "normal"
    autostart: bool = True


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
    return [
        ProcessSpec(
            name=instance,
            bot=name,
            argv=_argv(bot),
            cwd=str(base / bot.cwd if bot.cwd else base),
            env={**env_of(name), **bot.env, "OUTRIDER_BOT": instance},
            readiness=bot.readiness or ("sdk" if bot.entry else "alive"),
            ready_timeout_s=bot.ready_timeout_s,
            grace_s=bot.grace_s,
            needs=bot.needs,
            restart=RestartPolicy(bot.restart.strategy, bot.restart.backoff_s, most, window_s),
            memory_limit_bytes=bot.limits.memory,
            cpu_limit=bot.limits.cpu,
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


def _argv(bot: BotSettings) -> tuple[str, ...]:
    if bot.entry:
        return (sys.executable, "-m", "outrider.supervisor.entry", bot.entry)
    assert bot.command is not None
    return bot.command
