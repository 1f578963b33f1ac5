"""How a bot's work goes: its slowest handler, its calls of the platform's API, its caches.

Told from whatever series it has: a bot that is not instrumented has none of these, and the page
shows that as nothing, not as nought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.web import records

if TYPE_CHECKING:
    from outrider.web.recent import Recent

# Timings of handlers: those of integrations, and what bots call them by hand.
_HANDLERS = ("handler.", "handle_")


def of(rows: Recent, bot: str, *, over_s: float) -> dict[str, Any]:
    """Return a bot's slowest handler, errors and API calls a minute, and its caches' hit ratio.

    ``handler_s`` is the 95th percentile of the slowest handler, which ``handler`` and
    ``handler_part`` name; while nobody computes that, the longest call. ``errors_per_min`` are
    handlers that raised: nought of those that never did, None of a bot without any.
    ``cache_hit_ratio`` is of the calls within ``over_s``.
    """
    names = [name for name in rows.own(bot) if name.startswith(_HANDLERS)]
    value, timing, part = _slowest(rows, bot, names, "p95_s")
    if value is None:
        value, timing, part = _slowest(rows, bot, names, "max_s")
    calls = [name for name in rows.own(bot) if name.startswith("api.") and name.endswith(".count")]
    limited = [
        name
        for name in rows.own(bot)
        if name.startswith("api.") and name.endswith(".limited_total")
    ]
    return {
        "handler_s": value,
        "handler": records.clean(timing),
        "handler_part": part,
        "errors_per_min": _errors_per_min(rows, bot, names, over_s),
        "api_per_min": _per_minute(
            rows, bot, [c for c in calls if not c.endswith(".wait.count")], over_s
        ),
        "api_limited_per_min": _per_minute(rows, bot, limited, over_s),
        "cache_hit_ratio": _hit_ratio(rows, bot, over_s),
    }


def _slowest(rows: Recent, bot: str, names: list[str], part: str) -> tuple[float | None, str, str]:
    found = [
        (value, name.removesuffix(f".{part}"), part.removesuffix("_s"))
        for name in names
        if name.endswith(f".{part}") and (value := rows.now(f"bot.{bot}.{name}")) is not None
    ]
    return max(found, default=(None, "", ""))


def _errors_per_min(rows: Recent, bot: str, names: list[str], over_s: float) -> float | None:
    if not names:
        return None
    raised = [name for name in names if name.endswith(".errors_total")]
    return _per_minute(rows, bot, raised, over_s) or 0.0


def _per_minute(rows: Recent, bot: str, names: list[str], over_s: float) -> float | None:
    rate = _rate(rows, bot, names, over_s)
    return None if rate is None else 60 * rate


def _rate(rows: Recent, bot: str, names: list[str], over_s: float) -> float | None:
    rates = [rows.rate(f"bot.{bot}.{name}", over_s) for name in names]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _hit_ratio(rows: Recent, bot: str, over_s: float) -> float | None:
    caches = [name for name in rows.own(bot) if name.startswith("cache.")]
    hits = _rate(rows, bot, [name for name in caches if name.endswith(".hits_total")], over_s)
    others = [name for name in caches if name.endswith((".misses_total", ".waits_total"))]
    calls = (hits or 0.0) + (_rate(rows, bot, others, over_s) or 0.0)
    return (hits or 0.0) / calls if calls else None
