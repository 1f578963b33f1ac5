"""What the bots look up again and again, kept by the cache.

Warming workers import this module to load what will be asked for next, so it is light: the
standard library, SQLAlchemy and outrider, no framework of any bot.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import sqlalchemy as sa

import outrider
from mybots import tables, whereabouts

CARRIER_TIMEOUT_S = 5.0


@outrider.cached(ttl_s=30, namespace="profiles")
async def profile(user_id: int) -> dict[str, Any] | None:
    """Return a quiz player's standing, or None for a newcomer."""
    return await asyncio.to_thread(_profile, user_id)


@outrider.cached(ttl_s=10, namespace="leaderboard")
def leaderboard(limit: int = 5) -> list[dict[str, Any]]:
    """Return the best quiz players, the best first."""
    best = (
        sa.select(tables.players)
        .order_by(tables.players.c.right_answers.desc(), tables.players.c.user_id)
        .limit(limit)
    )
    with tables.engine().connect() as connection:
        return [dict(row) for row in connection.execute(best).mappings()]


@outrider.cached(ttl_s=15, namespace="months")
def month_summary(user_id: int, month: str) -> dict[str, int]:
    """Return what a person spent in a month (``2026-11``): cents by category, the most first."""
    spent = sa.func.sum(tables.expenses.c.cents).label("spent")
    query = (
        sa.select(tables.expenses.c.category, spent)
        .where(tables.expenses.c.user_id == user_id, tables.expenses.c.month == month)
        .group_by(tables.expenses.c.category)
        .order_by(spent.desc())
    )
    with tables.engine().connect() as connection:
        return {category: int(cents) for category, cents in connection.execute(query)}


@outrider.cached(ttl_s=60, namespace="parcels")
def parcel_stage(number: str) -> str:
    """Return where a parcel is, as its carrier's site says. Raises OSError when it says nothing."""
    url = f"{whereabouts.botapi_url()}/carrier/{number}"
    with urllib.request.urlopen(url, timeout=CARRIER_TIMEOUT_S) as answer:  # noqa: S310 - our URL
        return str(json.load(answer)["stage"])


@outrider.cached(ttl_s=5, namespace="closes")
def recent_closes(symbol: str, limit: int) -> list[float]:
    """Return a pair's latest closing prices, the oldest first."""
    latest = (
        sa.select(tables.candles.c.close)
        .where(tables.candles.c.symbol == symbol)
        .order_by(tables.candles.c.start_s.desc())
        .limit(limit)
    )
    with tables.engine().connect() as connection:
        return [float(close) for close in connection.execute(latest).scalars()][::-1]


def _profile(user_id: int) -> dict[str, Any] | None:
    query = sa.select(tables.players).where(tables.players.c.user_id == user_id)
    with tables.engine().connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return dict(row) if row else None
