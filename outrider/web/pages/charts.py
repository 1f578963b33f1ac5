"""Which series a page draws: those of a list that its host has at its newest tick."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outrider.store.base import SeriesStore

# Title, patterns in the order of how much they say, and how many of those that match are drawn.
Wanted = tuple[tuple[str, tuple[str, ...], int], ...]

HOST: Wanted = (
    ("CPU", ("host.cpu.used_ratio",), 1),
    ("Memory", ("host.memory.used_ratio",), 1),
    ("Load, 1 min", ("host.load.1m",), 1),
    ("Disk", ("host.disk.used_ratio",), 1),
    ("Swap", ("host.swap.used_ratio",), 1),
    ("Disk writes", ("host.disk.write_bytes_total",), 1),
    ("Disk reads", ("host.disk.read_bytes_total",), 1),
    ("Network in", ("host.net.received_bytes_total",), 1),
    ("Network out", ("host.net.sent_bytes_total",), 1),
)
DATABASE: Wanted = (
    ("Connections in use", ("db.server.connections.used_ratio",), 1),
    ("Connections at work", ("db.server.connections.active",), 1),
    ("Idle in transaction", ("db.server.connections.idle_in_transaction",), 1),
    ("Locks waited for", ("db.server.locks.waiting",), 1),
    ("Longest transaction", ("db.server.longest_transaction_s",), 1),
    ("Commits", ("db.server.commits_total",), 1),
)
QUEUES: Wanted = (
    ("Tasks that wait", ("celery.queue.*.length", "celery.*.queue.*.length"), 4),
    ("Oldest task", ("celery.queue.*.oldest_age_s", "celery.*.queue.*.oldest_age_s"), 2),
    ("Tasks done", ("celery.tasks.succeeded_total", "celery.*.tasks.succeeded_total"), 1),
    ("Tasks failed", ("celery.tasks.failed_total", "celery.*.tasks.failed_total"), 1),
    ("Runtime, p95", ("celery.tasks.runtime.p95_s", "celery.*.tasks.runtime.p95_s"), 1),
)


def bot(name: str) -> Wanted:
    """Return what is drawn of a bot."""

    def own(*series: str) -> tuple[str, ...]:
        return tuple(f"bot.{name}.{each}" for each in series)

    return (
        ("CPU", own("cpu_ratio"), 1),
        ("Memory", own("rss_bytes"), 1),
        ("Loop lag", own("loop_lag_s"), 1),
        ("Work", own("updates_total", "messages_total", "events_total", "requests_total",
                     "jobs_total", "handle_update.count"), 1),
        ("Errors", own("handle_update.errors_total", "errors.*_total", "*.errors_total"), 2),
        ("Handlers, p95", own("handle_update.p95_s", "handler.*.p95_s", "handle_*.p95_s"), 3),
        ("Calls of the platform", own("api.*.p95_s"), 2),
        ("Database", own("db.query_time.p95_s", "db.pool.used_ratio", "db.pool.waiting"), 3),
        ("Cache hits", own("cache.*.hit_ratio"), 2),
        ("Other timings, p95", own("*.p95_s"), 3),
        ("Open files", own("fds"), 1),
        ("Heartbeat age", own("heartbeat_age_s"), 1),
    )  # fmt: skip


def of(store: SeriesStore, host: str, wanted: Wanted) -> list[dict[str, str]]:
    """Return ``title`` and ``series`` of each chart; none is drawn twice."""
    row = store.last(host)
    return pick(row.values if row else (), wanted)


def pick(names: Iterable[str], wanted: Wanted) -> list[dict[str, str]]:
    """Return which of these series are drawn.

    >>> pick(["bot.a.cpu_ratio", "bot.a.x"], bot("a"))
    [{'title': 'CPU', 'series': 'bot.a.cpu_ratio'}]
    """
    known = sorted(names)
    drawn: dict[str, str] = {}
    for title, patterns, most in wanted:
        fit = [each for one in patterns for each in fnmatch.filter(known, one)]
        fresh = [each for each in dict.fromkeys(fit) if each not in drawn]
        drawn |= dict.fromkeys(fresh[:most], title)
    return [{"title": title, "series": series} for series, title in drawn.items()]
