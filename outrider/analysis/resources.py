"""What can go wrong, and which series tell: the one table that diagnosis reads.

Resources are judged by utilisation, saturation and errors (Gregg's USE method), what serves people
by rate, errors and duration (Wilkie's RED). To let diagnosis see another series, add a line. A part
in braces is a name from outside; it has no dots, except for caches, queues, mounts, methods and
names that bots choose. The first line that fits a series counts; one without a part leaves its
series out of judgement.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

Role = Literal["utilisation", "saturation", "error", "rate", "duration", "state", "demand"]
# level: the value itself. growth: a value whose newest counts. climb: the same, while it still
# climbs. stopped: whether the value says so of a process. rate: increase a second
# of a counter. mean: increase of a counter over that of another. share: the same over their sum, of
# many calls together.
Form = Literal["level", "growth", "climb", "rate", "mean", "share", "stopped"]
Unit = Literal["", "s", "bytes", "ratio", "/s", "cores", "bytes/s", "s/s"]


@dataclass(frozen=True, slots=True)
class Signal:
    """How one kind of series tells of a part of the fleet.

    ``part`` is what it speaks of, such as ``pool:{bot}``. A change counts from ``least`` on, and
    from ``least_ratio`` of what was before; ``worse`` is its bad direction. ``level`` is where the
    resource is full. ``weight`` says how surely the change is that part's own fault, 0 to 1.
    """

    pattern: str
    part: str
    role: Role
    words: str
    unit: Unit
    least: float
    form: Form = "level"
    over: str = ""
    worse: int = 1
    least_ratio: float = 0.0
    level: float | None = None
    weight: float = 0.9


# One line a series is the point of a table, and the formatter would not have it.
_S = Signal
SIGNALS = (
    # The machine. `outside` is added by `signals`: what the host's bots do not use themselves.
    _S("host.cpu.used_ratio", "cpu", "utilisation", "CPU use", "ratio", 0.15, level=0.85, weight=0.8),
    _S("host.pressure.cpu.some_ratio", "cpu", "saturation", "time in which work waits for a core", "ratio", 0.25, level=0.6),
    # The ratios of the kernel are means of ten seconds; the totals tell of the tick itself.
    _S("host.pressure.cpu.some_seconds_total", "cpu", "saturation", "time in which work waits for a core", "s/s", 0.25, form="rate"),
    _S("host.processes.running", "cpu", "saturation", "threads that run or wait for a core", "", 2, least_ratio=0.5, weight=0.8),
    _S("host.cpu.outside_cores", "outside", "utilisation", "CPU used by other processes", "cores", 0.4),
    _S("host.memory.used_ratio", "memory", "utilisation", "memory use", "ratio", 0.15, level=0.92),
    _S("host.pressure.memory.some_ratio", "memory", "saturation", "time in which work waits for memory", "ratio", 0.1, level=0.3),
    _S("host.pressure.memory.some_seconds_total", "memory", "saturation", "time in which work waits for memory", "s/s", 0.1, form="rate"),
    _S("host.memory.oom_kills_total", "memory", "error", "processes killed for want of memory", "/s", 0.02, form="rate"),
    _S("host.swap.used_ratio", "memory", "saturation", "swap use", "ratio", 0.1, level=0.5),
    _S("host.swap.in_bytes_total", "memory", "saturation", "reading back from swap", "bytes/s", 1e6, form="rate"),
    _S("host.disk.used_ratio", "disk space", "utilisation", "used disk space", "ratio", 0.1, level=0.95),
    _S("host.mount.{mount}.used_ratio", "disk space", "utilisation", "used disk space", "ratio", 0.1, level=0.95),
    _S("host.mount.{mount}.inodes_used_ratio", "disk space", "utilisation", "used inodes", "ratio", 0.1, level=0.95),
    _S("host.pressure.io.some_ratio", "disk", "saturation", "time in which work waits for a disk", "ratio", 0.2, level=0.4),
    _S("host.pressure.io.some_seconds_total", "disk", "saturation", "time in which work waits for a disk", "s/s", 0.2, form="rate"),
    _S("host.disk.busy_ratio", "disk", "utilisation", "time in which the disk works", "ratio", 0.4, level=0.9, weight=0.6),
    _S("host.disk.latency_s", "disk", "duration", "a read or write", "s", 0.02, least_ratio=2),
    _S("host.processes.blocked", "disk", "saturation", "threads that wait for a disk", "", 4, weight=0.6),
    _S("host.net.errors_total", "network", "error", "packets with errors", "/s", 1, form="rate"),
    _S("host.net.drops_total", "network", "error", "dropped packets", "/s", 5, form="rate", weight=0.6),
    _S("host.net.tcp_retransmits_total", "network", "error", "TCP segments sent again", "/s", 5, form="rate", least_ratio=2),
    _S("host.files.used_ratio", "files", "utilisation", "open files of the kernel's limit", "ratio", 0.2, level=0.9),
    # A bot's process: is it there, what does it use, is its loop free.
    _S("bot.{bot}.up", "life:{bot}", "state", "it is not running", "", 0.5, worse=-1, weight=1.0),
    _S("bot.{bot}.failed", "life:{bot}", "state", "it was given up after too many crashes", "", 0.5, weight=1.0),
    _S("bot.{bot}.state", "life:{bot}", "state", "a signal stopped it", "", 0.5, form="stopped", weight=1.0),
    _S("bot.{bot}.crashes_total", "life:{bot}", "error", "crashes", "/s", 0.02, form="rate", weight=1.0),
    _S("bot.{bot}.cpu_ratio", "process:{bot}", "utilisation", "CPU use", "cores", 0.25, least_ratio=1),
    _S("bot.{bot}.children.cpu_ratio", "process:{bot}", "utilisation", "CPU use of its children", "cores", 0.25, least_ratio=1),
    _S("bot.{bot}.rss_bytes", "leak:{bot}", "utilisation", "memory", "bytes", 16e6, form="climb", least_ratio=0.15),
    _S("bot.{bot}.children.rss_bytes", "leak:{bot}", "utilisation", "memory of its children", "bytes", 16e6, form="climb", least_ratio=0.15),
    _S("bot.{bot}.fds", "leak:{bot}", "utilisation", "open files", "", 50, form="climb", least_ratio=1),
    _S("bot.{bot}.threads", "leak:{bot}", "utilisation", "threads", "", 30, form="climb", least_ratio=1),
    _S("bot.{bot}.loop_lag_s", "loop:{bot}", "saturation", "waiting for the event loop", "s", 0.2, least_ratio=1),
    _S("bot.{bot}.heartbeat_age_s", "loop:{bot}", "state", "silence", "s", 3, weight=0.7),
    # A bot's database, cache and platform.
    _S("bot.{bot}.db.query_seconds_total", "queries:{bot}", "duration", "a query", "s", 0.02, form="mean", over="bot.{bot}.db.queries_total", least_ratio=1),
    _S("bot.{bot}.db.errors_total", "queries:{bot}", "error", "failed queries", "/s", 0.1, form="rate", weight=0.7),
    _S("bot.{bot}.db.pool.used_ratio", "pool:{bot}", "utilisation", "connections in use", "ratio", 0.4, level=0.9, weight=0.7),
    _S("bot.{bot}.db.pool.waiting", "pool:{bot}", "saturation", "threads that wait for a connection", "", 1),
    _S("bot.{bot}.db.pool.wait_seconds_total", "pool:{bot}", "saturation", "time spent waiting for a connection", "s/s", 0.1, form="rate"),
    _S("bot.{bot}.db.pool.timeouts_total", "pool:{bot}", "error", "waits given up", "/s", 0.05, form="rate"),
    _S("bot.{bot}.cache.{cache}.away", "redis", "saturation", "caches without Redis", "", 0.5, weight=0.8),
    _S("bot.{bot}.cache.{cache}.fallbacks_total", "redis", "error", "calls that Redis did not answer", "/s", 0.1, form="rate", weight=0.7),
    _S("bot.{bot}.cache.{cache}.unsent_writes_total", "redis", "error", "values that did not reach Redis", "/s", 0.1, form="rate", weight=0.6),
    _S("bot.{bot}.cache.{cache}.unsent_invalidations_total", "redis", "error", "invalidations that did not reach Redis", "/s", 0.1, form="rate", weight=0.6),
    _S("bot.{bot}.cache.{cache}.errors_total", "handlers:{bot}", "error", "failed loads of {cache}", "/s", 0.1, form="rate", weight=0.6),
    _S("bot.{bot}.cache.{cache}.misses_total", "cache:{bot}.{cache}", "saturation", "share of misses", "ratio", 0.25, form="share", over="bot.{bot}.cache.{cache}.hits_total", weight=0.9),
    _S("bot.{bot}.cache.{cache}.load_seconds_total", "loads:{bot}.{cache}", "duration", "a load", "s", 0.05, form="mean", over="bot.{bot}.cache.{cache}.loads_total", least_ratio=1),
    _S("bot.{bot}.cache.{cache}.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.db.pool.checkout.sum_s", "pool:{bot}", "duration", "a wait for a connection", "s", 0.05, form="mean", over="bot.{bot}.db.pool.checkout.count", least_ratio=1),
    _S("bot.{bot}.db.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.redis.bl{rest}", "", "demand", "", "", 0),  # blocking commands wait by design
    _S("bot.{bot}.redis.br{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.redis.bz{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.redis.xread{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.redis.errors.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.redis.{command}.errors_total", "redis", "error", "failed {command}", "/s", 0.2, form="rate", least_ratio=1, weight=0.6),
    _S("bot.{bot}.redis.{command}.sum_s", "redis", "duration", "{command}", "s", 0.05, form="mean", over="bot.{bot}.redis.{command}.count", least_ratio=1, weight=0.6),
    _S("bot.{bot}.redis.{rest}", "", "demand", "", "", 0),
    # People who press twice are rate-limited every day: only a share of all calls tells.
    _S("bot.{bot}.api.{method}.limited_total", "api:{bot}", "error", "rate-limited share of {method}", "ratio", 0.25, form="share", over="bot.{bot}.api.{method}.count"),
    _S("bot.{bot}.api.{method}.errors_total", "api:{bot}", "error", "failed share of {method}", "ratio", 0.25, form="share", over="bot.{bot}.api.{method}.count"),
    _S("bot.{bot}.api.errors.{type}_total", "", "demand", "", "", 0),
    _S("bot.{bot}.api.status.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.api.{method}.wait.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.api.getUpdates.{rest}", "", "demand", "", "", 0),  # long polling: it waits by design
    _S("bot.{bot}.api.get_updates.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.api.{method}.sum_s", "api:{bot}", "duration", "a call of {method}", "s", 0.1, form="mean", over="bot.{bot}.api.{method}.count", least_ratio=1),
    _S("bot.{bot}.api.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.gateway.ready", "api:{bot}", "state", "the gateway is not ready", "", 0.5, worse=-1),
    _S("bot.{bot}.gateway.latency_s", "api:{bot}", "duration", "a heartbeat of the gateway", "s", 0.3, least_ratio=1, weight=0.7),
    # A client that polls long looks slow when little happens: requests alone are no proof.
    _S("bot.{bot}.http.{site}.requests.{method}.sum_s", "api:{bot}", "duration", "a request to {site}", "s", 0.1, form="mean", over="bot.{bot}.http.{site}.requests.{method}.count", least_ratio=1, weight=0.5),
    _S("bot.{bot}.http.{site}.errors_total", "api:{bot}", "error", "failed requests to {site}", "/s", 0.2, form="rate", least_ratio=1, weight=0.7),
    _S("bot.{bot}.http.{site}.limited_total", "api:{bot}", "error", "rate-limited requests to {site}", "/s", 0.2, form="rate", least_ratio=1, weight=0.7),
    _S("bot.{bot}.http.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.updates.age.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.instrument.{rest}", "", "demand", "", "", 0),
    _S("bot.{bot}.frames_dropped_total", "", "demand", "", "", 0),
    _S("bot.{bot}.refused_total", "", "demand", "", "", 0),
    _S("bot.{bot}.updates.backlog", "handlers:{bot}", "saturation", "updates that wait", "", 30, form="growth", least_ratio=1, weight=0.6),
    # What people notice: rate, errors and duration of everything a bot times or counts itself.
    _S("bot.{bot}.{name}.sum_s", "handlers:{bot}", "duration", "{name}", "s", 0.1, form="mean", over="bot.{bot}.{name}.count", least_ratio=1),
    _S("bot.{bot}.updates_total", "handlers:{bot}", "rate", "updates", "/s", 0.4, form="rate", worse=-1, least_ratio=0.5, weight=0.5),
    _S("bot.{bot}.{name}.count", "handlers:{bot}", "rate", "{name}", "/s", 0.4, form="rate", worse=-1, least_ratio=0.5, weight=0.5),
    _S("bot.{bot}.{trouble}_total", "handlers:{bot}", "error", "{trouble}", "/s", 0.3, form="rate", least_ratio=1, weight=0.5),
    # What no host owns.
    _S("redis.up", "redis", "state", "it does not answer", "", 0.5, worse=-1, weight=1.0),
    _S("redis.latency_s", "redis", "duration", "a ping", "s", 0.05, least_ratio=2, weight=0.8),
    _S("redis.slowlog_total", "redis", "saturation", "slow commands", "/s", 0.1, form="rate", weight=0.7),
    _S("redis.memory.used_ratio", "redis", "utilisation", "memory of maxmemory", "ratio", 0.1, level=0.9),
    _S("redis.evicted_total", "redis", "error", "keys thrown out", "/s", 1, form="rate"),
    _S("redis.clients.refused_total", "redis", "error", "refused connections", "/s", 0.1, form="rate"),
    _S("redis.persistence.loading", "redis", "state", "it loads its data", "", 0.5, weight=1.0),
    _S("redis.persistence.aof_ok", "redis", "state", "it can't write its append-only file", "", 0.5, worse=-1),
    _S("redis.server.{server}.up", "redis:{server}", "state", "it does not answer", "", 0.5, worse=-1, weight=1.0),
    _S("redis.server.{server}.latency_s", "redis:{server}", "duration", "a ping", "s", 0.05, least_ratio=2, weight=0.8),
    _S("redis.server.{server}.slowlog_total", "redis:{server}", "saturation", "slow commands", "/s", 0.1, form="rate", weight=0.7),
    _S("redis.server.{server}.memory.used_ratio", "redis:{server}", "utilisation", "memory of maxmemory", "ratio", 0.1, level=0.9),
    _S("redis.server.{server}.evicted_total", "redis:{server}", "error", "keys thrown out", "/s", 1, form="rate"),
    _S("rows.missing", "redis", "state", "rows could not be stored", "", 0.5, weight=0.4),
    _S("db.server.up", "database", "state", "it does not answer", "", 0.5, worse=-1, weight=1.0),
    _S("db.server.locks.waiting", "database", "saturation", "requests that wait for a lock", "", 1, weight=0.9),
    _S("db.server.connections.active", "database", "saturation", "statements that run", "", 3, least_ratio=1, weight=0.7),
    _S("db.server.connections.used_ratio", "database", "utilisation", "connections of those allowed", "ratio", 0.2, level=0.9),
    # A transaction left open is its client's doing: by itself it says little of the server.
    _S("db.server.longest_transaction_s", "database", "saturation", "the oldest transaction", "s", 2, weight=0.3),
    _S("db.server.connections.idle_in_transaction", "database", "saturation", "transactions left open", "", 2, weight=0.2),
    _S("db.server.deadlocks_total", "database", "error", "deadlocks", "/s", 0.02, form="rate"),
    _S("db.server.rollbacks_total", "database", "error", "rollbacks", "/s", 1, form="rate", least_ratio=1, weight=0.2),
    _S("db.server.temp_bytes_total", "database", "saturation", "written for want of work_mem", "bytes/s", 10e6, form="rate", least_ratio=1, weight=0.5),
    _S("celery.queue.{queue}.length", "queue:{queue}", "saturation", "tasks that wait", "", 30, form="growth", least_ratio=1),
    _S("celery.queue.{queue}.oldest_age_s", "queue:{queue}", "saturation", "the wait of the next task", "s", 10, form="growth", least_ratio=1),
    _S("celery.queue.{queue}.consumers", "workers", "state", "fewer workers take from {queue}", "", 0.5, worse=-1, weight=0.7),
    _S("celery.queue.{queue}.unacked", "", "demand", "", "", 0),
    _S("celery.workers.up", "workers", "state", "fewer workers live", "", 0.5, worse=-1),
    _S("celery.workers.silent", "workers", "state", "workers fell silent", "", 0.5),
    _S("celery.tasks.failed_total", "workers", "error", "failed tasks", "/s", 0.2, form="rate", least_ratio=1, weight=0.6),
    _S("celery.tasks.{rest}", "", "demand", "", "", 0),
    _S("celery.task.{rest}", "", "demand", "", "", 0),
    _S("celery.worker.{rest}", "", "demand", "", "", 0),
    _S("celery.failures.{rest}", "", "demand", "", "", 0),
    _S("celery.{app}.queue.{queue}.length", "queue:{app}/{queue}", "saturation", "tasks that wait", "", 30, form="growth", least_ratio=1),
    _S("celery.{app}.queue.{queue}.oldest_age_s", "queue:{app}/{queue}", "saturation", "the wait of the next task", "s", 10, form="growth", least_ratio=1),
    _S("celery.{app}.queue.{queue}.consumers", "workers:{app}", "state", "fewer workers take from {queue}", "", 0.5, worse=-1, weight=0.7),
    _S("celery.{app}.workers.up", "workers:{app}", "state", "fewer workers live", "", 0.5, worse=-1),
    _S("celery.{app}.workers.silent", "workers:{app}", "state", "workers fell silent", "", 0.5),
    _S("celery.{app}.broker_up", "broker:{app}", "state", "it does not answer", "", 0.5, worse=-1, weight=1.0),
    _S("celery.{app}.tasks.succeeded_total", "workers:{app}", "rate", "tasks done", "/s", 0.4, form="rate", worse=-1, least_ratio=0.5, weight=0.5),
    _S("celery.{app}.tasks.failed_total", "workers:{app}", "error", "failed tasks", "/s", 0.2, form="rate", least_ratio=1, weight=0.6),
)  # fmt: skip

_DOTTED = frozenset({"cache", "queue", "mount", "method", "name", "rest", "trouble", "type"})
# A counter of a bot's own is trouble when its name says so; of the others only the bot knows.
_TROUBLE = r"[\w.-]*(?:err|fail|timeout|refus|limit|retr|wait|drop|late|reject)[\w.-]*"
_PLACE = re.compile(r"\{(\w+)\}")
_REMEMBERED = 65_536


@functools.lru_cache(maxsize=_REMEMBERED)
def of_series(series: str) -> tuple[Signal, dict[str, str]] | None:
    """Return the line that a series is judged by and the names in it, or None.

    >>> signal, names = of_series("bot.canary.db.pool.waiting")
    >>> fill(signal.part, names), signal.role
    ('pool:canary', 'saturation')
    >>> of_series("host.cpu.cores") is None
    True
    """
    for regex, signal in _by_area().get(series.partition(".")[0], ()):
        if fits := regex.fullmatch(series):
            return (signal, fits.groupdict()) if signal.part else None
    return None


def fill(template: str, names: dict[str, str]) -> str:
    """Return a text with its braces filled in."""
    return _PLACE.sub(lambda place: names[place[1]], template)


@functools.cache
def _by_area() -> dict[str, list[tuple[re.Pattern[str], Signal]]]:
    areas: dict[str, list[tuple[re.Pattern[str], Signal]]] = {}
    for signal in SIGNALS:
        areas.setdefault(signal.pattern.partition(".")[0], []).append((_regex(signal), signal))
    return areas


def _regex(signal: Signal) -> re.Pattern[str]:
    pieces = _PLACE.split(signal.pattern)
    text = re.escape(pieces[0])
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        inner = _TROUBLE if name == "trouble" else ".+?" if name in _DOTTED else "[^.]+"
        text += f"(?P<{name}>{inner})" + re.escape(literal)
    return re.compile(text, re.DOTALL)
