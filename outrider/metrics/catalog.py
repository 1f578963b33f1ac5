"""Every built-in series: what it is, in which unit, and what it tells the operator.

``docs/metrics.md``, ``/metrics`` and the dashboard's explorer speak from this one table, and a test
fails when a collector yields a series that is not in it. To add one, add a line: a part in braces
is a name from outside and becomes a label; the first line that fits counts, so what is special
stands before what is general. A *timing* stands for its parts, ``.count`` to ``.p99_s``.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "timing", "state"]
Unit = Literal["", "s", "bytes", "ratio"]

TIMING_PARTS = ("count", "sum_s", "max_s", "p50_s", "p95_s", "p99_s")
_PART = r"\.(?P<part__>" + "|".join(TIMING_PARTS) + ")"
# These names have no dots; those of queues, caches, mounts and methods may have.
_NO_DOTS = frozenset({"bot", "host", "core", "app", "exception"})
_PLACE = re.compile(r"\{(\w+)\}")
# Series are looked up by every scrape; a fleet of this many is known by heart.
_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Metric:
    """One kind of series. ``pattern`` is its name with what varies in braces."""

    pattern: str
    kind: Kind
    unit: Unit
    help: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names in braces, in order."""
        return tuple(_PLACE.findall(self.pattern))

    @property
    def is_own(self) -> bool:
        """Tell whether the name is a bot's own, of which only the bot knows the meaning."""
        return "{name}" in self.pattern


@dataclass(frozen=True, slots=True)
class Found:
    """A series, understood. ``part`` is empty unless the metric is a timing."""

    metric: Metric
    labels: tuple[tuple[str, str], ...]
    part: str


_HOST = (
    Metric("host.cpu.used_ratio", "gauge", "ratio", "Busy share of all cores since the last tick."),
    Metric("host.cpu.cores", "gauge", "", "Cores that the kernel schedules on."),
    Metric("host.cpu.core.{core}.used_ratio", "gauge", "ratio", "Busy share of one core."),
    Metric("host.load.1m", "gauge", "", "Processes that run or wait, over a minute; compare with the cores."),
    Metric("host.load.5m", "gauge", "", "The same over five minutes."),
    Metric("host.memory.used_ratio", "gauge", "ratio", "Memory in use; near 1 the kernel ends processes."),
    Metric("host.memory.available_bytes", "gauge", "bytes", "Memory that can be had without swapping."),
    Metric("host.swap.used_ratio", "gauge", "ratio", "Swap in use; what grows here makes everything slow."),
    Metric("host.disk.used_ratio", "gauge", "ratio", "Used share of the root file system."),
    Metric("host.disk.read_bytes_total", "counter", "bytes", "Read from all disks since boot."),
    Metric("host.disk.write_bytes_total", "counter", "bytes", "Written to all disks since boot."),
    Metric("host.net.sent_bytes_total", "counter", "bytes", "Sent by all interfaces since boot."),
    Metric("host.net.received_bytes_total", "counter", "bytes", "Received by all interfaces since boot."),
    Metric("host.pressure.{resource}.some_ratio", "gauge", "ratio", "Share of the last 10 s in which some work waited for cpu, memory or io."),
    Metric("supervisor.up", "state", "", "1 while a supervisor answers on this host; without it bots are not restarted."),
    Metric("stack.{part}.crashes_total", "counter", "", "Unwanted ends of a part of Outrider under `outrider up`."),
)  # fmt: skip
_BOT = (
    Metric("bot.{bot}.up", "state", "", "1 while the bot has a process; below 1 for 30 s is a critical alert."),
    Metric("bot.{bot}.ready", "state", "", "1 once the bot has called ready()."),
    Metric("bot.{bot}.failed", "state", "", "1 when it crashed too often and is not started again: `outrider bots start`."),
    Metric("bot.{bot}.state", "state", "", "The kernel's word on the process: 1 runs, 2 sleeps, 3 waits for a disk, 4 is stopped, 5 is a zombie."),
    Metric("bot.{bot}.restarts_total", "counter", "", "Starts after the first, wanted or not."),
    Metric("bot.{bot}.crashes_total", "counter", "", "Ends that nobody asked for."),
    Metric("bot.{bot}.uptime_s", "gauge", "s", "How long the present process has run."),
    Metric("bot.{bot}.cpu_seconds_total", "counter", "", "CPU time of the process, in seconds, since its start."),
    Metric("bot.{bot}.cpu_ratio", "gauge", "ratio", "CPU use since the last tick; 1 is one whole core."),
    Metric("bot.{bot}.rss_bytes", "gauge", "bytes", "Resident memory, with what is shared with others."),
    Metric("bot.{bot}.pss_bytes", "gauge", "bytes", "Memory with shared pages counted in part; read in turn, every 20 ticks."),
    Metric("bot.{bot}.threads", "gauge", "", "Threads of the process."),
    Metric("bot.{bot}.fds", "gauge", "", "Open file descriptors; one that only grows is a leak."),
    Metric("bot.{bot}.children", "gauge", "", "Child processes; read in turn, every 20 ticks."),
    Metric("bot.{bot}.io_read_bytes_total", "counter", "bytes", "Read from storage by the process."),
    Metric("bot.{bot}.io_write_bytes_total", "counter", "bytes", "Written to storage by the process."),
    Metric("bot.{bot}.switches_voluntary_total", "counter", "", "Times the main thread gave the core away to wait."),
    Metric("bot.{bot}.switches_involuntary_total", "counter", "", "Times the main thread had to give the core away: it competes for CPU."),
    Metric("bot.{bot}.heartbeat_age_s", "gauge", "s", "Since the bot's last word; one is due every second."),
    Metric("bot.{bot}.loop_lag_s", "gauge", "s", "Longest wait for the event loop since the last frame; above 1 something blocks it."),
    Metric("bot.{bot}.frames_dropped_total", "counter", "", "Frames of figures that could not be sent."),
    Metric("bot.{bot}.db.queries_total", "counter", "", "Statements run by engines of `create_engine`."),
    Metric("bot.{bot}.db.query_seconds_total", "counter", "", "Time spent in statements, in seconds."),
    Metric("bot.{bot}.db.errors_total", "counter", "", "Statements and connections that failed."),
    Metric("bot.{bot}.db.pool.size", "gauge", "", "Connections that the pools keep."),
    Metric("bot.{bot}.db.pool.used", "gauge", "", "Connections in use now."),
    Metric("bot.{bot}.db.pool.used_ratio", "gauge", "ratio", "Of all that the pools may open, overflow included."),
    Metric("bot.{bot}.db.pool.waiting", "gauge", "", "Threads that wait for a connection now."),
    Metric("bot.{bot}.db.pool.wait_seconds_total", "counter", "", "Time spent waiting for a connection, in seconds."),
    Metric("bot.{bot}.db.pool.timeouts_total", "counter", "", "Waits for a connection that were given up."),
    Metric("bot.{bot}.cache.{namespace}.hits_total", "counter", "", "Calls of the cached function answered from a cache."),
    Metric("bot.{bot}.cache.{namespace}.hits_memory_total", "counter", "", "Answered from the process's own memory."),
    Metric("bot.{bot}.cache.{namespace}.hits_redis_total", "counter", "", "Answered from Redis."),
    Metric("bot.{bot}.cache.{namespace}.warmed_hits_total", "counter", "", "First hits on values that warming loaded: misses that did not happen."),
    Metric("bot.{bot}.cache.{namespace}.misses_total", "counter", "", "Calls that had to load."),
    Metric("bot.{bot}.cache.{namespace}.waits_total", "counter", "", "Calls that waited for another one's load of the same key."),
    Metric("bot.{bot}.cache.{namespace}.loads_total", "counter", "", "Runs of the cached function."),
    Metric("bot.{bot}.cache.{namespace}.load_seconds_total", "counter", "", "Time spent in the cached function, in seconds."),
    Metric("bot.{bot}.cache.{namespace}.errors_total", "counter", "", "Runs of the cached function that raised."),
    Metric("bot.{bot}.cache.{namespace}.unreadable_total", "counter", "", "Values in Redis that could not be decoded; they were loaded anew."),
    Metric("bot.{bot}.cache.{namespace}.fallbacks_total", "counter", "", "Misses that Redis was not, or could not be, asked about."),
    Metric("bot.{bot}.cache.{namespace}.unsent_writes_total", "counter", "", "Values that did not reach Redis."),
    Metric("bot.{bot}.cache.{namespace}.unsent_invalidations_total", "counter", "", "Invalidations that did not reach Redis: other processes may serve the old value until it expires."),
    Metric("bot.{bot}.cache.{namespace}.entries", "gauge", "", "Values in the process's own memory."),
    Metric("bot.{bot}.cache.{namespace}.away", "state", "", "1 while Redis is not asked because it did not answer."),
    Metric("bot.{bot}.cache.{namespace}.hit_ratio", "gauge", "ratio", "Hits as a share of all calls since the bot's start."),
    Metric("bot.{bot}.handler.{handler}.errors_total", "counter", "", "Calls of a handler that raised."),
    Metric("bot.{bot}.handler.{handler}", "timing", "s", "Time in a handler of updates."),
    Metric("bot.{bot}.api.{method}.errors_total", "counter", "", "Calls of the platform's API that failed."),
    Metric("bot.{bot}.api.{method}.limited_total", "counter", "", "Calls of the platform's API that were rate-limited."),
    Metric("bot.{bot}.api.{method}.wait", "timing", "s", "Waits that the platform's rate limit asked for."),
    Metric("bot.{bot}.api.{method}", "timing", "s", "Calls of the platform's API."),
    Metric("bot.{bot}.{name}_total", "counter", "", "Counted by the bot itself, with `count`."),
    Metric("bot.{bot}.{name}", "timing", "s", "Timed by the bot itself, with `timed` or `observe`."),
    Metric("bot.{bot}.{name}", "gauge", "", "Set by the bot itself, with `gauge` or a source."),
)  # fmt: skip
_FLEET = (
    Metric("fleet.hosts.live", "gauge", "", "Hosts whose worker was heard within 15 s."),
    Metric("fleet.hosts.silent", "gauge", "", "Hosts that were heard within a day, and not now."),
    Metric("fleet.host.{host}.silent", "state", "", "1 while a host is not heard."),
    Metric("redis.up", "state", "", "1 when Redis answered at this tick."),
    Metric("redis.latency_s", "gauge", "s", "How long Redis took to answer a ping."),
    Metric("redis.memory_bytes", "gauge", "bytes", "Memory that Redis uses."),
    Metric("redis.memory.used_ratio", "gauge", "ratio", "Of `maxmemory`, where one is set; at 1 writes fail or keys are evicted."),
    Metric("redis.clients", "gauge", "", "Connected clients."),
    Metric("redis.ops_total", "counter", "", "Commands run since the server's start."),
    Metric("redis.evicted_total", "counter", "", "Keys thrown out for want of memory."),
    Metric("redis.uptime_s", "gauge", "s", "Since the server's start."),
    Metric("db.server.up", "state", "", "1 when the database answered at this tick."),
    Metric("db.server.connections.used", "gauge", "", "Connections of clients to the server."),
    Metric("db.server.connections.max", "gauge", "", "Connections that the server allows."),
    Metric("db.server.connections.used_ratio", "gauge", "ratio", "Of those allowed; at 1 nobody gets in."),
    Metric("db.server.connections.active", "gauge", "", "Connections that run a statement."),
    Metric("db.server.connections.idle_in_transaction", "gauge", "", "Connections that keep a transaction open and do nothing."),
    Metric("db.server.longest_transaction_s", "gauge", "s", "Age of the oldest open transaction; it holds locks and keeps dead rows."),
    Metric("db.server.commits_total", "counter", "", "Transactions committed in this database."),
    Metric("db.server.rollbacks_total", "counter", "", "Transactions rolled back in this database."),
    Metric("db.server.cache_hit_ratio", "gauge", "ratio", "Blocks found in the server's memory, since its statistics began."),
    Metric("db.server.file_bytes", "gauge", "bytes", "Size of an SQLite file."),
    Metric("db.server.pages", "gauge", "", "Pages of an SQLite file."),
)  # fmt: skip


_OF_AN_APP: tuple[tuple[str, Kind, Unit, str], ...] = (
    ("queue.{queue}.length", "gauge", "", "Tasks that wait, of all priorities."),
    ("queue.{queue}.unacked", "gauge", "", "Tasks of the queue that workers hold and have not finished."),
    ("queue.{queue}.oldest_age_s", "gauge", "s", "How long the next task has waited at least; exact where it says when it was sent."),
    ("queue.{queue}.consumers", "gauge", "", "Live workers that take from the queue; 0 and it only grows."),
    ("unacked", "gauge", "", "Tasks that workers hold and have not finished."),
    ("workers.up", "gauge", "", "Workers whose heartbeat is fresh."),
    ("workers.silent", "gauge", "", "Workers that were heard within an hour, and not now."),
    ("workers.active", "gauge", "", "Tasks that run now, on all workers."),
    ("workers.processes", "gauge", "", "Processes or threads that can run tasks."),
    ("worker.{worker}.up", "state", "", "1 while a worker's heartbeat is fresh; a killed one says nothing more."),
    ("worker.{worker}.heartbeat_age_s", "gauge", "s", "Since the worker's last heartbeat."),
    ("worker.{worker}.active", "gauge", "", "Tasks that the worker runs now."),
    ("worker.{worker}.processes", "gauge", "", "Processes or threads of the worker's pool."),
    ("tasks.sent_total", "counter", "", "Tasks sent, where senders tell (task-sent events)."),
    ("tasks.received_total", "counter", "", "Tasks that workers took."),
    ("tasks.started_total", "counter", "", "Tasks begun."),
    ("tasks.succeeded_total", "counter", "", "Tasks that ended well."),
    ("tasks.failed_total", "counter", "", "Tasks that raised and were not tried again."),
    ("tasks.rejected_total", "counter", "", "Tasks that a worker refused."),
    ("tasks.revoked_total", "counter", "", "Tasks that were called off."),
    ("tasks.retried_total", "counter", "", "Tasks that failed and will be tried again."),
    ("tasks.unseen_total", "counter", "", "Tasks that ran while nobody listened: known by number only."),
    ("tasks.odd_total", "counter", "", "Events that made no sense and were left out."),
    ("tasks.unclean_total", "counter", "", "Workers that ended without handing over their last second of counts."),
    ("task.{task}.succeeded_total", "counter", "", "Runs of one task that ended well; of the busiest, the rest is `overflow`."),
    ("task.{task}.failed_total", "counter", "", "Runs of one task that raised."),
    ("task.{task}.retried_total", "counter", "", "Runs of one task that will be tried again."),
    ("task.{task}.runtime", "timing", "s", "Runtime of one task that succeeded."),
    ("tasks.runtime", "timing", "s", "Runtime of tasks that succeeded."),
    ("failures.{exception}_total", "counter", "", "Failed tasks by type of exception."),
)  # fmt: skip


def _celery(prefix: str) -> tuple[Metric, ...]:
    """Return the lines of one Celery application: ours without a name, others with theirs."""
    return tuple(
        Metric(f"{prefix}.{pattern}", kind, unit, text) for pattern, kind, unit, text in _OF_AN_APP
    )


_CELERY = (
    *_celery("celery"),
    *_celery("celery.{app}"),
    Metric("celery.{app}.watched", "state", "", "1 while one of our workers watches this application."),
    Metric("celery.{app}.broker_up", "state", "", "1 while its broker answers."),
    Metric("celery.{app}.receiver_up", "state", "", "1 while its events are heard."),
    Metric("celery.{app}.receiver_connects_total", "counter", "", "Connections made to hear its events; many are a flapping broker."),
)  # fmt: skip
# By the part of the system that measures it, as the page of docs shows it.
SECTIONS = {
    "A host": _HOST,
    "A bot": _BOT,
    "What no host owns": _FLEET,
    "Celery": _CELERY,
}
METRICS = tuple(metric for section in SECTIONS.values() for metric in section)


@functools.lru_cache(maxsize=_REMEMBERED)
def find(series: str) -> Found | None:
    """Return what a series is, or None when no line of the table fits.

    >>> found = find("bot.canary.cache.profiles.hits_total")
    >>> found.metric.kind, found.labels
    ('counter', (('bot', 'canary'), ('namespace', 'profiles')))
    >>> find("bot.canary.handle_update.p95_s").part, find("nonsense")
    ('p95_s', None)
    """
    for regex, metric in _by_area().get(series.partition(".")[0], ()):
        if fits := regex.fullmatch(series):
            named = fits.groupdict()
            part = named.pop("part__", "")
            return Found(metric, tuple(named.items()), part)
    return None


@functools.cache
def _by_area() -> dict[str, list[tuple[re.Pattern[str], Metric]]]:
    areas: dict[str, list[tuple[re.Pattern[str], Metric]]] = {}
    for metric in METRICS:
        areas.setdefault(metric.pattern.partition(".")[0], []).append((_regex(metric), metric))
    return areas


def _regex(metric: Metric) -> re.Pattern[str]:
    pieces = _PLACE.split(metric.pattern)  # literal, name, literal, name, ..., literal
    text = re.escape(pieces[0])
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        text += f"(?P<{name}>{'[^.]+' if name in _NO_DOTS else '.+?'})" + re.escape(literal)
    return re.compile(text + (_PART if metric.kind == "timing" else ""), re.DOTALL)
