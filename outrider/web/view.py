"""The fleet at one moment, as plain data: what the page, its events and the terminal all show.

Nothing here draws and nothing here waits for a viewer. A part that is missing (no supervisor, no
analysis, no alerts) is shown as missing; the rest stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from outrider.alerts import labels
from outrider.clock import tick_at, tick_start
from outrider.samples import bot_of
from outrider.store import keys
from outrider.web import budgets, caches, recent, records, verdict, work

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.store.base import SeriesStore
    from outrider.web.recent import Recent
    from outrider.web.records import Action, Alert, BotWord, Records, Transition

# A host is fresh, and alive, while its newest row and heartbeat are younger than this.
FRESH_INTERVALS = 3
SPARK_POINTS = 60
CHART_POINTS = 180
MOST_EVENTS = 20
RATE_S = 60.0
# A host that left the fleet is shown as silent for a day, then no more.
FORGOTTEN_S = 86_400.0
CHARTS = {
    "cpu": "host.cpu.used_ratio",
    "memory": "host.memory.used_ratio",
    "disk": "host.disk.used_ratio",
    "load": "host.load.1m",
}
SPARKS = {"cpu": "cpu_ratio", "rss": "rss_bytes", "loop_lag": "loop_lag_s"}
# What a bot counts per piece of work, by how usual the name is.
_WORK = (
    "updates_total", "messages_total", "events_total", "handle_update.count", "requests_total",
    "jobs_total",
)  # fmt: skip
_CORE = re.compile(r"host\.cpu\.core\.(\d+)\.used_ratio")
_FLOWS = {
    "disk_read_bytes_per_s": "host.disk.read_bytes_total",
    "disk_written_bytes_per_s": "host.disk.write_bytes_total",
    "net_sent_bytes_per_s": "host.net.sent_bytes_total",
    "net_received_bytes_per_s": "host.net.received_bytes_total",
}
_GAUGES = {
    "cpu_used_ratio": "host.cpu.used_ratio",
    "memory_used_ratio": "host.memory.used_ratio",
    "memory_available_bytes": "host.memory.available_bytes",
    "swap_used_ratio": "host.swap.used_ratio",
    "disk_used_ratio": "host.disk.used_ratio",
    "load_1m": "host.load.1m",
}


@dataclass(frozen=True, slots=True)
class _Moment:
    """When the snapshot is taken, and on which grid."""

    now_s: float
    interval_s: float

    @property
    def fresh_s(self) -> float:
        return FRESH_INTERVALS * self.interval_s

    @property
    def end_s(self) -> float:
        """The end of the present tick, where every chart ends: silence shows as a gap."""
        return tick_start(tick_at(self.now_s, self.interval_s) + 1, self.interval_s)

    def fresh(self, at_s: float | None) -> bool:
        return at_s is not None and self.now_s - at_s < self.fresh_s


def snapshot(store: SeriesStore, redis_client: redis.Redis, now_s: float) -> dict[str, Any]:
    """Return everything the first screen shows, as JSON-able data.

    Costs one read of the last half hour a host and two round trips. Raises redis.RedisError when
    the server does not answer.
    """
    moment = _Moment(now_s, store.interval_s)
    beats = {
        host: at_s
        for host, at_s in records.heartbeats(redis_client).items()
        if now_s - at_s < FORGOTTEN_S
    }
    seen = {host: recent.read(store, host, now_s) for host in {*store.hosts(), *beats, keys.FLEET}}
    fleet = seen.pop(keys.FLEET)
    seen = {
        host: rows
        for host, rows in seen.items()
        if host in beats or (rows.at_s is not None and now_s - rows.at_s < FORGOTTEN_S)
    }
    kept = records.read(redis_client, sorted(seen), beats)
    hosts = [_host(host, seen[host], kept, moment) for host in sorted(seen)]
    bots = [bot for host in hosts for bot in _bots(host, seen[host["key"]], kept, moment)]
    bots.sort(key=lambda bot: (-verdict.SEVERITY[bot["health"]], bot["name"], bot["host"]))
    alerts = active_alerts(kept, now_s)
    newest = [host["at_s"] for host in hosts if host["at_s"] and (host["live"] or host["fresh"])]
    data_at_s = min(newest, default=max((host["at_s"] or 0 for host in hosts), default=0)) or None
    return {
        "now_s": now_s,
        "interval_s": moment.interval_s,
        "verdict": verdict.judge(hosts, bots, alerts).shown(now_s),
        "data_at_s": data_at_s,
        "data_age_s": None if data_at_s is None else max(0.0, now_s - data_at_s),
        "tick_lag": None if data_at_s is None else _tick_lag(data_at_s, moment),
        "fresh": moment.fresh(data_at_s),
        "hosts": hosts,
        "bots": bots,
        "alerts": alerts,
        "budgets": budgets.of(fleet) if moment.fresh(fleet.at_s) else [],
        "events": _events(kept),
        "resources": _resources(fleet, moment),
        "caches": caches.of(
            redis_client, (rows for rows in seen.values() if moment.fresh(rows.at_s))
        ),
        "damaged": kept.damaged,
    }


def nothing(now_s: float, interval_s: float) -> dict[str, Any]:
    """Return the snapshot of a fleet of which nothing is known yet."""
    return {
        "now_s": now_s,
        "interval_s": interval_s,
        "verdict": verdict.judge([], [], []).shown(now_s),
        "data_at_s": None,
        "data_age_s": None,
        "tick_lag": None,
        "fresh": False,
        "hosts": [],
        "bots": [],
        "alerts": [],
        "budgets": [],
        "events": [],
        "resources": {"at_s": None, "fresh": False, "redis": None, "queues": [], "database": []},
        "caches": [],
        "damaged": 0,
    }


def _tick_lag(at_s: float, moment: _Moment) -> int:
    """Count the ticks that should have a row by now and have none; the present one may wait."""
    behind = tick_at(moment.now_s, moment.interval_s) - tick_at(at_s + 1e-3, moment.interval_s)
    return max(0, behind - 1)


def _host(host: str, rows: Recent, kept: Records, moment: _Moment) -> dict[str, Any]:
    report = kept.reports.get(host) or records.Report()
    beat_s = kept.heartbeats.get(host)
    fresh = moment.fresh(rows.at_s)
    step_s = max(moment.interval_s, recent.SPAN_S / CHART_POINTS)
    return {
        "key": host,
        "name": records.clean(host),
        "at_s": rows.at_s,
        "since_s": rows.at_s or beat_s,
        "fresh": fresh,
        "live": moment.fresh(beat_s),
        # Without a supervisor its last word on the bots says nothing of now.
        "supervised": rows.now("supervisor.up") != 0,
        "heartbeat_age_s": None if beat_s is None else max(0.0, moment.now_s - beat_s),
        "state": report.state if fresh else "unknown",
        "verdict": report.verdict,
        "advice": [advised.text for advised in report.recommendations],
        "evidence": report.bottleneck.evidence if report.bottleneck else [],
        "anomalies": [
            {"series": found.series, "value": found.value, "since_s": found.since_s}
            for found in report.anomalies
        ],
        "cores": _cores(rows),
        **{name: rows.now(series) for name, series in _GAUGES.items()},
        **{name: rows.rate(series, RATE_S) for name, series in _FLOWS.items()},
        "charts": {
            "end_s": moment.end_s,
            "step_s": step_s,
            **{
                name: rows.points(series, end_s=moment.end_s, step_s=step_s, count=CHART_POINTS)
                for name, series in CHARTS.items()
            },
        },
    }


def _cores(rows: Recent) -> list[float | None]:
    """Return how busy each core is, in the kernel's order."""
    found = {int(core[1]): core[0] for name in rows.names() if (core := _CORE.fullmatch(name))}
    return [rows.now(found[core]) for core in sorted(found)]


def _bots(
    host: dict[str, Any], rows: Recent, kept: Records, moment: _Moment
) -> list[dict[str, Any]]:
    """Describe a host's bots: those the supervisor names, and those that speak unsupervised."""
    words = {word.name: word for word in kept.bots.get(host["key"], [])}
    speaking = [name for name in rows.bots() if name not in words] if host["fresh"] else []
    known = host["fresh"] and host["supervised"]
    found = [_bot(word, host, rows, moment, known=known) for word in words.values()]
    for name in speaking:
        ready = rows.now(f"bot.{name}.ready") == 1 or rows.now(f"bot.{name}.up") == 1
        word = records.BotWord(name, state="running" if ready else "starting")
        found.append(_bot(word, host, rows, moment, known=True))
    return found


def _bot(
    word: BotWord, host: dict[str, Any], rows: Recent, moment: _Moment, *, known: bool
) -> dict[str, Any]:
    prefix = f"bot.{word.name}."
    beat_age_s = rows.now(f"{prefix}heartbeat_age_s")
    running = word.state in ("running", "ready", "starting")
    uptime_s = rows.now(f"{prefix}uptime_s")
    if uptime_s is None and running and word.since_s is not None:
        uptime_s = max(0.0, moment.now_s - word.since_s)
    health = verdict.health(word.state, known=known, heartbeat_age_s=beat_age_s)
    since_s = word.since_s
    if health == "warning" and word.state != "starting" and rows.at_s and beat_age_s:
        since_s = rows.at_s - beat_age_s  # it hangs, since its last word
    return {
        "name": records.clean(word.name),
        "bot": records.clean(word.bot or word.name),
        "host": host["name"],
        "host_key": host["key"],
        "state": word.state if known else "unknown",
        "health": health,
        "reason": word.reason,
        "since_s": since_s if known else None if host["fresh"] else host["at_s"],
        "pid": word.pid,
        "stale": not known,
        "uptime_s": uptime_s if running else None,
        "restarts": _first(word.restarts, rows.now(f"{prefix}restarts_total")),
        "crashes": _first(word.crashes, rows.now(f"{prefix}crashes_total")),
        "heartbeat_age_s": beat_age_s,
        **{
            name: rows.now(prefix + name)
            for name in ("cpu_ratio", "rss_bytes", "loop_lag_s", "threads", "fds")
        },
        "updates_per_min": _per_minute(prefix, rows, moment),
        **work.of(rows, word.name, over_s=max(RATE_S, 2 * moment.interval_s)),
        "sparks": {
            name: rows.points(
                prefix + series, end_s=moment.end_s, step_s=moment.interval_s, count=SPARK_POINTS
            )
            for name, series in SPARKS.items()
        },
    }


def _per_minute(prefix: str, rows: Recent, moment: _Moment) -> float | None:
    over_s = max(RATE_S, 2 * moment.interval_s)
    rates = (rows.rate(prefix + name, over_s) for name in _WORK)
    rate = next((rate for rate in rates if rate is not None), None)
    return None if rate is None else 60 * rate


def active_alerts(kept: Records, now_s: float) -> list[dict[str, Any]]:
    """Return the alerts that fire or are about to, worst and oldest first, with who was told."""
    active = [alert for alert in kept.alerts if alert.state not in ("inactive", "resolved", "ok")]
    active.sort(
        key=lambda alert: (
            alert.state != "firing",
            -verdict.SEVERITY.get(alert.severity, 1),
            alert.since_s or 0,
        )
    )
    return [
        {
            "rule": alert.rule,
            "instance": alert.instance,
            "host": alert.host,
            "on": _on(alert),
            "severity": alert.severity,
            "state": alert.state,
            "since_s": alert.since_s,
            "value": alert.value,
            "summary": alert.summary,
            "told": _told(alert, kept),
            "key": labels.key(msgspec.structs.asdict(alert)),
            "bot": bot_of(alert.instance) or "",
            "ack": _ack(alert, kept, now_s),
        }
        for alert in active
    ]


def _ack(alert: Alert, kept: Records, now_s: float) -> dict[str, Any] | None:
    """Return who has an alert, while that holds."""
    ack = kept.acks.get(labels.key(msgspec.structs.asdict(alert)))
    if ack is None or (ack.until_s is not None and ack.until_s <= now_s):
        return None
    return msgspec.structs.asdict(ack)


def _told(alert: Alert, kept: Records) -> list[dict[str, Any]]:
    newest = next(
        (
            change.id
            for change in kept.transitions
            if (change.rule, change.instance, change.host)
            == (alert.rule, alert.instance, alert.host)
        ),
        None,
    )
    return [
        {"channel": told.channel, "result": told.result, "at_s": told.at_s}
        for told in kept.notifications
        if newest is not None and (newest == told.id or newest in told.ids)
    ]


def _on(found: Alert | Transition) -> str:
    """Return what an alert is about, for people.

    >>> _on(records.Alert("r", instance="canary", host="alpha"))
    'canary (alpha)'
    """
    host = "" if found.host == keys.FLEET else found.host
    if found.instance in ("", host):
        return host
    return f"{found.instance} ({host})" if host else found.instance


def _events(kept: Records) -> list[dict[str, Any]]:
    """Return what happened last, newest first. Alerts that never fired are no event."""
    changes = [
        {
            "at_s": change.at_s,
            "kind": "alert",
            "state": "ok" if change.to != "firing" else change.severity,
            "what": ("Alert: " if change.to == "firing" else "Resolved: ") + change.rule,
            "on": _on(change),
            "text": change.summary or "",
        }
        for change in kept.transitions
        if _is_event(change)
    ]
    done = [_action(action) for action in kept.actions]
    return sorted([*changes, *done], key=lambda event: -event["at_s"])[:MOST_EVENTS]


def _is_event(change: Transition) -> bool:
    """Leave out what never fired, and what recovers and fires again: that is one alarm."""
    if change.to == "firing":
        return change.was not in ("recovering", "no_data")
    return change.to == "resolved" or (change.was, change.to) == ("firing", "inactive")


def _action(action: Action) -> dict[str, Any]:
    failed = action.result not in (None, "", "ok", "done")
    by = f"by {action.who}" if action.who else ""
    detail = [by, action.why or "", f"result: {action.result}" if failed else ""]
    return {
        "at_s": action.at_s,
        "kind": "action",
        "state": "warning" if failed else "off",
        "what": f"{action.what[:1].upper()}{action.what[1:]}",
        "on": action.bot or "",
        "text": "; ".join(filter(None, detail)),
    }


def _resources(fleet: Recent, moment: _Moment) -> dict[str, Any]:
    prefix, suffix = "celery.queue.", ".length"
    queues = [name for name in fleet.names() if name.startswith(prefix) and name.endswith(suffix)]
    known = [name for name in fleet.names() if name.startswith("redis.")]
    return {
        "at_s": fleet.at_s,
        "fresh": moment.fresh(fleet.at_s),
        "redis": {
            "up": fleet.now("redis.up"),
            "memory_bytes": fleet.now("redis.memory_bytes"),
            "clients": fleet.now("redis.clients"),
            "ops_per_s": fleet.rate("redis.ops_total", RATE_S),
            "latency_s": fleet.now("redis.latency_s"),
        }
        if known
        else None,
        "queues": [
            {
                "name": records.clean(name[len(prefix) : -len(suffix)]),
                "length": fleet.now(name),
                "spark": fleet.points(
                    name, end_s=moment.end_s, step_s=moment.interval_s, count=SPARK_POINTS
                ),
            }
            for name in sorted(queues)
        ],
        "database": [
            {"name": records.clean(name.removeprefix("db.")), "value": fleet.now(name)}
            for name in sorted(_under(fleet.names(), "db."))
        ],
    }


def _under(names: Iterable[str], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
