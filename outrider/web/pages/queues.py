"""Celery's queues and workers, as the newest row of the fleet has them, and what was given up."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys
from outrider.web import recent
from outrider.web.pages import charts
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from outrider.web.recent import Recent
    from outrider.web.source import Source

_QUEUE = re.compile(
    r"celery\.(?:(?P<app>[^.]+)\.)??queue\.(?P<name>.+)\."
    r"(?P<what>length|unacked|oldest_age_s|consumers)"
)
_WORKER = re.compile(
    r"celery\.(?:(?P<app>[^.]+)\.)??worker\.(?P<name>.+)\."
    r"(?P<what>up|heartbeat_age_s|active|processes)"
)
_TASK = re.compile(
    r"celery\.(?:(?P<app>[^.]+)\.)??task\.(?P<name>.+)\."
    r"(?P<what>succeeded_total|failed_total|retried_total|runtime\.p95_s)"
)
_RATE_S = 300.0
_POINTS = 60
_MOST = 50


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return queues (the longest first), workers, tasks (those that fail first), dead letters."""
    del asked
    now_s, parts = source.clock.now(), Parts()
    rows = recent.read(source.store, keys.FLEET, now_s)
    queues = _named(rows, _QUEUE)
    for queue in queues:
        app = f"{queue['app']}." if queue["app"] else ""
        queue["spark"] = rows.points(
            f"celery.{app}queue.{queue['name']}.length",
            end_s=(rows.at_s or now_s) + source.store.interval_s,
            step_s=source.store.interval_s,
            count=_POINTS,
        )
    return {
        "at_s": rows.at_s,
        "queues": sorted(queues, key=lambda queue: (-(queue["length"] or 0), queue["name"])),
        "workers": sorted(
            _named(rows, _WORKER), key=lambda worker: (worker["up"] or 0, worker["name"])
        ),
        "tasks": _tasks(rows),
        "dead": parts.many("dead letters", _listed, source.client, keys.DEAD),
        "dead_count": source.client.llen(keys.DEAD),
        "missed": parts.many("missed ticks", _listed, source.client, keys.MISSED),
        "host": keys.FLEET,
        "charts": charts.pick(rows.names(), charts.QUEUES),
        "notices": parts.notices,
    }


def _named(rows: Recent, pattern: re.Pattern[str]) -> list[dict[str, Any]]:
    """Gather the series that a pattern takes apart, by application and name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    blank = {"length": None, "unacked": None, "oldest_age_s": None, "consumers": None} if (
        pattern is _QUEUE
    ) else {"up": None, "heartbeat_age_s": None, "active": None, "processes": None}  # fmt: skip
    for series in rows.names():
        if match := pattern.fullmatch(series):
            key = match["app"] or "", match["name"]
            entry = found.setdefault(key, {"app": key[0], "name": key[1], **blank})
            entry[match["what"]] = rows.now(series)
    return list(found.values())


def _tasks(rows: Recent) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for series in rows.names():
        if match := _TASK.fullmatch(series):
            key = match["app"] or "", match["name"]
            blank = {"succeeded": None, "failed": None, "retried": None, "runtime_p95_s": None}
            entry = found.setdefault(key, {"app": key[0], "name": key[1], **blank})
            if match["what"].endswith("_total"):
                rate = rows.rate(series, _RATE_S)
                entry[match["what"].removesuffix("_total")] = None if rate is None else 60 * rate
            else:
                entry["runtime_p95_s"] = rows.now(series)
    ranked = sorted(found.values(), key=lambda t: (-(t["failed"] or 0), -(t["succeeded"] or 0)))
    return ranked[:_MOST]


def _listed(client: redis.Redis, key: str) -> list[Any]:
    raws = cast("list[bytes]", client.lrange(key, 0, 19))
    return [json.loads(raw) for raw in raws]
