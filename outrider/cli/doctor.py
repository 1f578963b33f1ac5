"""``outrider doctor``: looks at what Outrider needs, and says what to do about what is missing."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import Settings

EXIT_UNWELL = 1
_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 11), (3, 13)


@click.command()
def doctor() -> None:
    """Check Python, settings, Redis, ticks, dead letters, supervisor, limits; exit 1 if unwell."""
    from outrider.cli import terminal
    from outrider.errors import OutriderError
    from outrider.workers import preflight

    rows: list[tuple[str, str, str]] = []

    def look(what: str, check: Callable[[], str]) -> bool:
        try:
            rows.append((what, "ok", check()))
        except OutriderError as error:
            rows.append((what, "failed", str(error)))
        return rows[-1][1] == "ok"

    look("python", _python)
    look("kernel", _kernel)
    if look("settings", lambda: str(preflight.load()[1] or "defaults")):
        settings = preflight.load()[0]
        if look("redis", lambda: _redis(settings)):
            look("ticks", lambda: _ticks(settings))
            look("dead letters", lambda: _dead_letters(settings))
        look("supervisor", lambda: _supervisor(settings))
        look("limits", lambda: _limits(settings))
    terminal.console.print(terminal.table("", ("what", "state", "detail"), rows))
    if any(state != "ok" for _, state, _ in rows):
        sys.exit(EXIT_UNWELL)


def _python() -> str:
    from outrider.errors import BadArgument

    version = sys.version_info[:2]
    if not _OLDEST_PYTHON <= version <= _NEWEST_PYTHON:
        raise BadArgument(f"Python {version[0]}.{version[1]}: 3.11 to 3.13 are supported.")
    return sys.version.split()[0]


def _kernel() -> str:
    if hasattr(os, "pidfd_open"):
        return f"{os.uname().sysname} {os.uname().release}, pidfd"
    return f"{os.uname().sysname} {os.uname().release}, no pidfd: a thread waits for each bot"


def _redis(settings: Settings) -> str:
    from outrider.store import address, connection

    url = address.redis_url(settings)
    return f"{connection.check(url)} at {connection.without_password(url)}"


def _ticks(settings: Settings) -> str:
    import time

    from outrider.errors import OutriderError
    from outrider.store import address
    from outrider.store.redis import RedisStore

    store = RedisStore(address.redis_url(settings), interval_s=settings.interval_s)
    row = store.last(settings.host)
    if row is None:
        raise OutriderError(f"no row of {settings.host} yet: do worker and beat run? outrider up")
    age_s = time.time() - row.at_s
    if age_s > 3 * settings.interval_s:
        raise OutriderError(f"the newest row is {age_s:.0f} s old: see the logs of worker and beat")
    return f"newest row {age_s:.0f} s old, {len(row.values)} series"


def _dead_letters(settings: Settings) -> str:
    from outrider.errors import OutriderError
    from outrider.store import address, connection, keys

    client = connection.connect(address.redis_url(settings))
    dead = client.llen(keys.DEAD)
    if dead:
        raise OutriderError(
            f"{dead} tasks ended their workers again and again; see list {keys.DEAD}"
        )
    return f"none; {client.llen(keys.MISSED)} gaps in beat's ticks recorded"


def _limits(settings: Settings) -> str:
    import psutil

    from outrider.errors import OutriderError
    from outrider.supervisor import budget, cgroup

    found = budget.of(
        settings,
        host_memory_bytes=psutil.virtual_memory().total,
        host_cores=psutil.cpu_count() or 1,
    )
    if not found.fits:
        raise OutriderError(f"{found}: lower limits, instances or scale.max")
    controllers = cgroup.delegated()
    by = f"cgroup v2 ({', '.join(sorted(controllers))})" if controllers else "the supervisor"
    return f"{found}; held by {by}"


def _supervisor(settings: Settings) -> str:
    from outrider.supervisor import control

    snapshot = control.ask(settings.run_dir(), "snapshot", timeout_s=5)
    ready = sum(entry["state"] == "ready" for entry in snapshot["processes"])
    return f"{ready} of {len(snapshot['processes'])} processes ready"
