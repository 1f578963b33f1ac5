"""How well each cache does its work: the figures on which its time to live is judged."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Any, cast

from outrider.cache import keys, usage
from outrider.clock import SYSTEM

if TYPE_CHECKING:
    import redis

    from outrider.cache.usage import Use


def effectiveness(client: redis.Redis, *, now_s: float | None = None) -> list[dict[str, Any]]:
    """Return one row a namespace, by name.

    ``expected_reuse`` is how many uses a loaded value is expected to serve after the one that
    loaded it, the mean over keys with a known rhythm; ``gap_s`` is the median time between uses.
    Loads and warming count over this hour and the one before. ``ahead`` is the planner's word since
    it began: loads ahead, those that served and that did not, those it had no budget for, loads
    beyond those of plain caching, and why it loads nothing; None when nothing was planned.
    """
    at_s = SYSTEM.now() if now_s is None else now_s
    return [
        _row(namespace, usage.read(client, namespace), usage.tally(client, namespace, at_s))
        | {"ahead": _ahead(client, namespace)}
        for namespace in usage.namespaces(client, at_s)
    ]


def _ahead(client: redis.Redis, namespace: str) -> dict[str, Any] | None:
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.plan(namespace)))
    if not stored:
        return None
    word = {name.decode(): value.decode() for name, value in stored.items()}
    return {
        name: value if name == "off" else float(value) if "." in value else int(value)
        for name, value in word.items()
    }


def _row(namespace: str, uses: dict[str, Use], tally: usage.Tally) -> dict[str, Any]:
    newest = max(uses.values(), key=lambda use: use.last_use_s, default=usage.Use())
    gaps_s = [use.gap_s for use in uses.values() if use.rhythm.is_known()]
    return {
        "namespace": namespace,
        "keys": len(uses),
        "uses": sum(use.uses for use in uses.values()),
        "repeatable": sum(use.is_repeatable for use in uses.values()),
        "loader": newest.loader or None,
        "ttl_s": newest.ttl_s,
        "gap_s": median(gaps_s) if gaps_s else None,
        "expected_reuse": fmean(newest.ttl_s / gap_s for gap_s in gaps_s) if gaps_s else None,
        "loads": tally.loads,
        "warmed": tally.warmed,
        "warmed_hits": tally.warmed_hits,
    }
