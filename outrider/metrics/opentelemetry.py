"""What OpenTelemetry's semantic conventions call the same: a table, for whoever bridges the two.

Our own names stay: most of the conventions below are of status Development and still change their
names. ``docs/opentelemetry.md`` is written from this table, and a test holds it to the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["Development", "Stable"]

# The version of the conventions in which each name below was looked up.
VERSION = "1.44.0"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One of our series in their words. ``pattern`` is a line of the catalogue."""

    pattern: str
    name: str
    unit: str
    attributes: str = ""
    note: str = ""
    status: Status = "Development"


_POOL = "db.client.connection.pool.name={bot}"
MAPPED = (
    Mapped("host.cpu.used_ratio", "system.cpu.utilization", "1", note="all modes but idle and iowait, over all cores"),
    Mapped("host.cpu.core.{core}.used_ratio", "system.cpu.utilization", "1", "cpu.logical_number={core}", "all modes but idle and iowait"),
    Mapped("host.cpu.cores", "system.cpu.logical.count", "{cpu}"),
    Mapped("host.memory.used_ratio", "system.memory.utilization", "1", "system.memory.state=used"),
    Mapped("host.memory.available_bytes", "system.memory.linux.available", "By"),
    Mapped("host.swap.used_ratio", "system.paging.utilization", "1", "system.paging.state=used"),
    Mapped("host.disk.used_ratio", "system.filesystem.utilization", "1", "system.filesystem.mountpoint=/, system.filesystem.state=used"),
    Mapped("host.disk.read_bytes_total", "system.disk.io", "By", "disk.io.direction=read"),
    Mapped("host.disk.write_bytes_total", "system.disk.io", "By", "disk.io.direction=write"),
    Mapped("host.net.sent_bytes_total", "system.network.io", "By", "network.io.direction=transmit"),
    Mapped("host.net.received_bytes_total", "system.network.io", "By", "network.io.direction=receive"),
    Mapped("bot.{bot}.uptime_s", "process.uptime", "s"),
    Mapped("bot.{bot}.cpu_seconds_total", "process.cpu.time", "s", note="user and system together"),
    Mapped("bot.{bot}.cpu_ratio", "process.cpu.utilization", "1", note="theirs divides by the cores: ours by host.cpu.cores"),
    Mapped("bot.{bot}.rss_bytes", "process.memory.usage", "By"),
    Mapped("bot.{bot}.threads", "process.thread.count", "{thread}"),
    Mapped("bot.{bot}.fds", "process.unix.file_descriptor.count", "{file_descriptor}"),
    Mapped("bot.{bot}.io_read_bytes_total", "process.disk.io", "By", "disk.io.direction=read"),
    Mapped("bot.{bot}.io_write_bytes_total", "process.disk.io", "By", "disk.io.direction=write"),
    Mapped("bot.{bot}.switches_voluntary_total", "process.context_switches", "{context_switch}", "process.context_switch.type=voluntary", "of the main thread"),
    Mapped("bot.{bot}.switches_involuntary_total", "process.context_switches", "{context_switch}", "process.context_switch.type=involuntary", "of the main thread"),
    Mapped("bot.{bot}.db.query_time", "db.client.operation.duration", "s", "db.system.name=postgresql or sqlite", status="Stable"),
    Mapped("bot.{bot}.db.statement.{kind}", "db.client.operation.duration", "s", "db.operation.name={kind}", status="Stable"),
    Mapped("bot.{bot}.db.errors.{type}_total", "db.client.operation.duration", "s", "error.type={type}", "the count of the histogram", status="Stable"),
    Mapped("bot.{bot}.db.rows_total", "db.client.response.returned_rows", "{row}", note="theirs is a histogram, and of rows returned only: ours is the sum"),
    Mapped("bot.{bot}.db.connect", "db.client.connection.create_time", "s", _POOL),
    Mapped("bot.{bot}.db.pool.wait_time", "db.client.connection.wait_time", "s", _POOL),
    Mapped("bot.{bot}.db.pool.hold_time", "db.client.connection.use_time", "s", _POOL),
    Mapped("bot.{bot}.db.queries_total", "db.client.operation.duration", "s", note="the count of the histogram", status="Stable"),
    Mapped("bot.{bot}.db.query_seconds_total", "db.client.operation.duration", "s", note="the sum of the histogram", status="Stable"),
    Mapped("bot.{bot}.db.pool.used", "db.client.connection.count", "{connection}", f"{_POOL}, db.client.connection.state=used"),
    Mapped("bot.{bot}.db.pool.size", "db.client.connection.idle.max", "{connection}", _POOL),
    Mapped("bot.{bot}.db.pool.waiting", "db.client.connection.pending_requests", "{request}", _POOL),
    Mapped("bot.{bot}.db.pool.wait_seconds_total", "db.client.connection.wait_time", "s", _POOL, "the sum of the histogram"),
    Mapped("bot.{bot}.db.pool.hold_seconds_total", "db.client.connection.use_time", "s", _POOL, "the sum of the histogram"),
    Mapped("bot.{bot}.db.pool.checkouts_total", "db.client.connection.use_time", "s", _POOL, "the count of the histogram"),
    Mapped("bot.{bot}.db.pool.timeouts_total", "db.client.connection.timeouts", "{timeout}", _POOL),
    Mapped("bot.{bot}.handler.{handler}", "messaging.process.duration", "s", "messaging.operation.name={handler}, messaging.system=telegram or discord", "an update is a message that was received"),
    Mapped("bot.{bot}.handler.{handler}.errors_total", "messaging.process.duration", "s", "messaging.operation.name={handler}, error.type=_OTHER", "the count of the histogram"),
    Mapped("bot.{bot}.api.{method}", "http.client.request.duration", "s", "url.template=/bot{token}/{method}", status="Stable"),
)  # fmt: skip
# What they have no name for, and what comes nearest to saying it.
UNMAPPED = {
    "bot.{bot}.db.pool.leaked": "no convention for what is forgotten",
    "bot.{bot}.db.external_calls_total": "no convention for the time a transaction stands idle",
    "bot.{bot}.db.n_plus_one_total": "no convention for statements that are run in a loop",
    "bot.{bot}.loop_lag_s": "no convention for Python; nodejs.eventloop.delay.max is the same of another runtime",
    "bot.{bot}.cache.{namespace}.hits_total": "no convention for caches",
    "celery.queue.{queue}.length": "messaging.* counts messages that move, not those that wait",
    "host.pressure.{resource}.some_ratio": "no convention for pressure stall",
    "host.load.1m": "no convention for load",
    "db.server.up": "postgresql.* is of the collector's receiver, and no convention",
    "redis.latency_s": "redis.* is of the collector's receiver, and no convention",
}
