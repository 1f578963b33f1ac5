"""Readiness: is the fleet really being measured? A server that answers is not yet health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.web import records, view

if TYPE_CHECKING:
    import redis

    from outrider.store.base import SeriesStore


def readiness(store: SeriesStore, client: redis.Redis, now_s: float) -> tuple[bool, dict[str, Any]]:
    """Return whether every live host has a fresh row, and the reason when one has not.

    A host that sends no heartbeat any more is not live: that is an alert, and no reason to call
    the rest unready. Raises redis.RedisError when the server does not answer.
    """
    limit_s = view.FRESH_INTERVALS * store.interval_s
    beats = records.heartbeats(client)
    live = sorted(host for host, at_s in beats.items() if now_s - at_s < limit_s)
    ages = {host: _age_s(store, host, now_s) for host in live}
    late = [host for host, age_s in ages.items() if age_s is None or age_s >= limit_s]
    report: dict[str, Any] = {
        "ready": bool(live) and not late,
        "limit_s": limit_s,
        "hosts": {records.clean(host): age_s for host, age_s in ages.items()},
    }
    if not live:
        report["reason"] = "no host has sent a heartbeat lately; start one with `outrider up`."
    elif late:
        named = ", ".join(records.clean(host) for host in late)
        report["reason"] = f"no fresh row from {named}; see whether its worker and beat run."
    return report["ready"], report


def _age_s(store: SeriesStore, host: str, now_s: float) -> float | None:
    row = store.last(host)
    return None if row is None else max(0.0, now_s - row.at_s)
