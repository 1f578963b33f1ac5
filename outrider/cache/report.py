"""How well each cache does its work: the figures on which its time to live is judged."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Any, cast

from outrider.cache import figures, keys, space, usage, warming
from outrider.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from outrider.cache.usage import Use
    from outrider.samples import Window


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
        | {"ahead": ahead(client, namespace)}
        for namespace in usage.namespaces(client, at_s)
    ]


def ahead(client: redis.Redis, namespace: str) -> dict[str, Any] | None:
    """Return the planner's word on a namespace, or None."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.plan(namespace)))
    if not stored:
        return None
    word = {name.decode(): value.decode() for name, value in stored.items()}
    return {
        name: value if name == "off" else float(value) if "." in value else int(value)
        for name, value in word.items()
    }


_TOTALS = {"ahead": "loads", "useful": "useful", "wasted": "wasted", "refused": "refused",
           "demand": "demand"}  # fmt: skip


def series(client: redis.Redis, now_s: float) -> dict[str, float]:
    """Return the planner's word on every namespace as series, for the row of the fleet."""
    row: dict[str, float] = {}
    for namespace in usage.namespaces(client, now_s):
        word = ahead(client, namespace)
        if word is None:
            continue
        row |= {f"warm.{namespace}.{name}_total": word[what] for what, name in _TOTALS.items()}
        row[f"warm.{namespace}.extra"] = word["extra"]
        row[f"warm.{namespace}.off"] = float(bool(word["off"]))
    return row


def _row(namespace: str, uses: dict[str, Use], tally: usage.Tally) -> dict[str, Any]:
    newest = max(uses.values(), key=lambda use: use.last_use_s, default=usage.Use())
    gaps_s = [use.gap_s for use in uses.values() if use.rhythm.is_known()]
    return {
        "namespace": namespace,
        "keys": len(uses),
        "uses": sum(use.uses for use in uses.values()),
        "repeatable": sum(use.is_repeatable for use in uses.values()),
        "loader": newest.loader or None,
        "version": newest.version,
        "ttl_s": newest.ttl_s,
        "gap_s": median(gaps_s) if gaps_s else None,
        "expected_reuse": fmean(newest.ttl_s / gap_s for gap_s in gaps_s) if gaps_s else None,
        "loads": tally.loads,
        "warmed": tally.warmed,
        "warmed_hits": tally.warmed_hits,
    }


def full(
    client: redis.Redis, windows: Iterable[Window], *, now_s: float | None = None
) -> list[dict[str, Any]]:
    """Return :func:`effectiveness` with what bots counted in the windows as ``recent``.

    ``recent`` is None where no bot told of the namespace; ``bytes`` is what Redis keeps of it, from
    a sample, and None when nothing is there.
    """
    counted = figures.by_namespace(windows)
    return [
        row | {
            "recent": counted.get(row["namespace"]),
            "bytes": _bytes(client, row["namespace"], row["version"]),
        }
        for row in effectiveness(client, now_s=now_s)
    ]  # fmt: skip


def top(client: redis.Redis, namespace: str, count: int = 10) -> list[dict[str, Any]]:
    """Return the keys of a namespace that were used most within a day."""
    uses = usage.read(client, namespace)
    return [
        {
            "key": key, "uses": use.uses, "last_use_s": use.last_use_s,
            "gap_s": use.gap_s if use.rhythm.is_known() else None,
            "repeatable": use.is_repeatable, "expires_s": use.expires_s, "bot": use.bot,
        }
        for key, use in sorted(uses.items(), key=lambda one: -one[1].uses)[:count]
    ]  # fmt: skip


def explain(client: redis.Redis, namespace: str, key: str) -> dict[str, Any]:
    """Return what Redis knows of one key: its value's life, who loads it, how it is used.

    Raises:
        BadArgument: it was never used.
    """
    use = warming.recorded(client, namespace, key)
    generation = space.generation(client, namespace, use.version)
    name = keys.value(namespace, key, generation)
    with client.pipeline(transaction=False) as pipe:
        pipe.pttl(name)
        pipe.memory_usage(name)
        pipe.pttl(keys.lease(namespace, key, generation))
        pipe.hget(keys.warmed(namespace), key)
        pipe.zscore(keys.due(namespace), key)
        left_ms, size, lease_ms, warmed_at, due_s = pipe.execute()
    return {
        "namespace": namespace, "key": key, "redis_key": name, "version": use.version,
        "left_s": left_ms / 1000 if left_ms > 0 else None, "bytes": size,
        "is_loading": lease_ms > 0, "due_s": due_s,
        "warmed_unused_since_s": float(warmed_at) if warmed_at else None,
        "loader": use.loader or None, "bot": use.bot or None, "ttl_s": use.ttl_s,
        "uses": use.uses, "last_use_s": use.last_use_s, "visits": use.visits,
        "gap_s": use.gap_s if use.rhythm.is_known() else None, "repeatable": use.is_repeatable,
    }  # fmt: skip


_SAMPLE = 50


def _bytes(client: redis.Redis, namespace: str, version: str) -> int | None:
    """Estimate what a namespace takes in Redis: the mean of a sample, times keys that are there."""
    names = cast("list[bytes]", client.hkeys(keys.usage(namespace)))
    generation = space.generation(client, namespace, version)
    with client.pipeline(transaction=False) as pipe:
        for name in names[:: max(1, len(names) // _SAMPLE)]:
            pipe.memory_usage(keys.value(namespace, name.decode(), generation))
        sizes = cast("list[int | None]", pipe.execute())
    there = [size for size in sizes if size]
    return round(sum(there) / len(sizes) * len(names)) if there else None
