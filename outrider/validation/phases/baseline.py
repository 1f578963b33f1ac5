"""What is: the host, the versions, the rows that came, and what the stack itself costs."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

import psutil

import outrider
from outrider.clock import tick_at, tick_start
from outrider.errors import SupervisorUnavailable
from outrider.store import connection
from outrider.validation.figure import Figure, fact
from outrider.validation.targets import judge, unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.validation.env import Env

LOOKED_BACK_S = 600.0
# A row may be under way for so long after its tick began, and is not missing yet.
UNDER_WAY_S = 2.0
# Beat and worker are ready well before; ticks that began earlier may have nobody to take them.
STARTED_WITHIN_S = 10.0
# Processes are watched for a whole interval, which has one collection in it, and at least so long.
WATCHED_S = 5.0
LONGEST_WAIT_S = 35.0
_POLL_S = 0.02
_PACKAGES = ("celery", "redis", "sqlalchemy")


def run(env: Env) -> Iterator[Figure]:
    """Measure the host, the rows of the last ten minutes, one tick as it comes, and our own cost.

    Waits for the next tick, if that is less than 35 s away.
    """
    yield from _host()
    yield from _versions(env)
    yield from _series(env)
    yield _present(env)
    yield from _watched(env)


def _host() -> Iterator[Figure]:
    yield fact("baseline.host.cores", psutil.cpu_count() or 1, "cores", platform.machine())
    memory = psutil.virtual_memory()
    yield fact("baseline.host.memory_bytes", memory.total, "bytes")
    yield fact("baseline.host.memory_available_bytes", memory.available, "bytes")
    yield fact("baseline.host.load_1m", psutil.getloadavg()[0], "")
    yield fact("baseline.host.system", f"{platform.system()} {platform.release()}", "")


def _versions(env: Env) -> Iterator[Figure]:
    yield fact("baseline.version.outrider", outrider.__version__, "")
    yield fact("baseline.version.python", platform.python_version(), "")
    yield fact("baseline.version.server", connection.check(env.redis_url), "")
    for package in _PACKAGES:
        yield fact(f"baseline.version.{package}", metadata.version(package), "")


def _series(env: Env) -> Iterator[Figure]:
    last = {host: env.store.last(host) for host in env.store.hosts()}
    counts = {host: len(row.values) for host, row in last.items() if row}
    yield fact("baseline.hosts", len(counts), "hosts", ", ".join(counts))
    yield fact("baseline.series", sum(counts.values()), "series", "in the newest row of each host")


def _present(env: Env) -> Figure:
    """Compare the rows of the last minutes with the ticks that lay in them."""
    name, interval_s, now_s = "baseline.ticks.present_ratio", env.store.interval_s, env.clock.now()
    started_s = float(env.stack().get("started_s", 0.0)) + STARTED_WITHIN_S
    looked_s = max(LOOKED_BACK_S, 10 * interval_s)
    kept = env.store.ticks(env.settings.host, now_s - looked_s, now_s)
    first = tick_at(max(started_s, now_s - looked_s), interval_s) + 1
    if not env.stack() and kept:  # nobody says since when it runs: since the first row
        first = max(first, kept[0])
    until = tick_at(now_s - UNDER_WAY_S, interval_s)
    expected = max(0, until - first + 1)
    if not expected:
        return judge(name, None, f"no whole tick lies behind the start; try {interval_s:g} s later")
    there = sum(first <= tick <= until for tick in kept)
    note = f"{there} of {expected} ticks, one every {interval_s:g} s"
    return judge(name, there / expected, note)


def _watched(env: Env) -> Iterator[Figure]:
    """Follow the next tick, and look at the stack's processes before and after."""
    try:
        own = _Own(env)
    except SupervisorUnavailable as away:
        own, why = None, str(away)
    start_s = env.clock.monotonic()
    yield _lag(env)
    watched_s = max(WATCHED_S, min(env.store.interval_s, LONGEST_WAIT_S))
    left_s = watched_s - (env.clock.monotonic() - start_s)
    if own and left_s > 0:
        env.sleep(left_s)
    if own:
        yield from own.cost(env.clock.monotonic() - start_s)
        return
    yield unmeasured("baseline.stack.cpu_cores", why)
    yield unmeasured("baseline.stack.pss_bytes", why)


def _lag(env: Env) -> Figure:
    """Wait for the next tick and measure when its row is there."""
    name, interval_s = "baseline.tick.lag_s", env.store.interval_s
    tick = tick_at(env.clock.now(), interval_s) + 1
    begins_s = tick_start(tick, interval_s)
    wait_s = begins_s - env.clock.now()
    if wait_s > LONGEST_WAIT_S:
        return unmeasured(name, f"the next tick is {wait_s:.0f} s away")
    env.sleep(max(0.0, wait_s))
    patience_s = min(interval_s, LONGEST_WAIT_S)
    while not env.store.ticks(env.settings.host, begins_s, begins_s + interval_s):
        if env.clock.now() > begins_s + patience_s:
            return judge(name, None, f"no row within {patience_s:g} s; see worker.log and beat.log")
        env.sleep(_POLL_S)
    return judge(name, max(0.0, env.clock.now() - begins_s), "from the tick's start to its row")


@dataclass(frozen=True, slots=True)
class _Seen:
    process: psutil.Process
    cpu_s: float


class _Own:
    """The stack's own processes: its parts, what they started, and the supervisor; no bots.

    Raises:
        SupervisorUnavailable: nobody can tell which processes they are.
    """

    def __init__(self, env: Env) -> None:
        listed = env.snapshot()["processes"]
        self._names = [part["name"] for part in listed if part["kind"] == "stack" and part["pid"]]
        parts = [part["pid"] for part in listed if part["kind"] == "stack" and part["pid"]]
        supervisor = env.stack().get("supervisor_pid")
        self._seen = [*_family(parts), *_alive([supervisor] if supervisor else [])]

    def cost(self, passed_s: float) -> Iterator[Figure]:
        """Return what they used of the CPU since, and hold of the memory."""
        used_s, pss, gone = 0.0, 0, 0
        for seen in self._seen:
            try:
                cpu = seen.process.cpu_times()
                memory = seen.process.memory_full_info()
            except psutil.NoSuchProcess:
                gone += 1
                continue
            except psutil.AccessDenied:
                yield unmeasured("baseline.stack.cpu_cores", "its processes are another user's")
                yield unmeasured("baseline.stack.pss_bytes", "its processes are another user's")
                return
            used_s += cpu.user + cpu.system - seen.cpu_s
            pss += getattr(memory, "pss", memory.rss)
        said = f"{', '.join(self._names)} and the supervisor"
        said += f"; {gone} ended meanwhile" if gone else ""
        yield judge("baseline.stack.cpu_cores", used_s / passed_s, f"over {passed_s:.1f} s: {said}")
        yield judge("baseline.stack.pss_bytes", pss, "shared pages counted once, in parts")


def _family(pids: list[int]) -> list[_Seen]:
    """Return processes and all that they started."""
    found = _alive(pids)
    for seen in tuple(found):
        try:
            found += _alive([child.pid for child in seen.process.children(recursive=True)])
        except psutil.Error:
            continue
    return found


def _alive(pids: list[int]) -> list[_Seen]:
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            cpu = process.cpu_times()
        except psutil.Error:
            continue
        found.append(_Seen(process, cpu.user + cpu.system))
    return found
