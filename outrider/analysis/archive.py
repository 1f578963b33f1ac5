"""Reads what the analysis left in Redis: the report of a host, its findings, its normal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.analysis import compare, findings, outlook, pictures, report, state
from outrider.errors import BadArgument
from outrider.samples import bot_of
from outrider.store import keys

if TYPE_CHECKING:
    import redis

    from outrider.analysis.compare import Comparison
    from outrider.analysis.plot import Picture
    from outrider.store.base import SeriesStore


def hosts(store: SeriesStore) -> list[str]:
    """Return the hosts by name, what belongs to none of them last."""
    return sorted(store.hosts(), key=lambda host: (host == keys.FLEET, host))


def read(client: redis.Redis, store: SeriesStore, host: str, *, since_s: float) -> dict[str, Any]:
    """Return a host's newest report, with what was found since a time as ``findings``.

    Raises:
        BadArgument: there is no report of this host; the text lists those that there are.
    """
    found = find(client, host, since_s=since_s)
    if found is None:
        known = ", ".join(hosts(store)) or "none yet: start one with `outrider up`"
        raise BadArgument(f"host = {host!r} has no report; hosts with rows are: {known}.")
    return found


def find(client: redis.Redis, host: str, *, since_s: float) -> dict[str, Any] | None:
    """Return what ``read`` does, or None when there is no report of this host."""
    found = _decoded(cast("bytes | None", client.get(keys.report(host))))
    if found is None:
        return None
    return found | {
        "findings": findings.read(client, host, since_s),
        "states_damaged": state.damaged(client, host),
    }


def of_bot(client: redis.Redis, store: SeriesStore, bot: str, *, since_s: float) -> dict[str, Any]:
    """Return what the report of a bot's host says of the bot.

    Raises:
        BadArgument: no host's newest row has a bot of this name.
    """
    known: set[str] = set()
    for host in hosts(store):
        row = store.last(host)
        bots = {name for series in (row.values if row else ()) if (name := bot_of(series))}
        if bot in bots:
            return report.of_bot(read(client, store, host, since_s=since_s), bot)
        known |= bots
    listed = ", ".join(sorted(known)) or "none yet"
    raise BadArgument(f"bot = {bot!r} is in no host's newest row; known are: {listed}.")


def normal(client: redis.Redis, store: SeriesStore, host: str, *, now_s: float) -> list[Comparison]:
    """Return every series of a host beside its normal, the farthest off first."""
    learned = state.load(client, host)
    window = store.window(host, now_s - 6 * store.interval_s, now_s + store.interval_s)
    return compare.compare(learned, window)


def drawn(
    client: redis.Redis, store: SeriesStore, found: dict[str, Any], *, since_s: float
) -> list[Picture]:
    """Return the pictures of a report; reads the rows since a time, which may take a second."""
    host = str(found["host"])
    raw = cast("bytes | None", client.get(keys.outlook(host)))
    return pictures.choose(
        found,
        found.get("findings", []),
        window=store.window(host, since_s, float(found["at_s"]) + store.interval_s),
        state=state.load(client, host),
        outlook=outlook.loads(raw),
    )


def _decoded(raw: bytes | None) -> dict[str, Any] | None:
    """Return a report in today's form; None when there is none, or it is damaged."""
    try:
        found: Any = json.loads(raw) if raw else None
    except ValueError:
        return None
    wanted = {"host", "tick", "at_s", "state", "verdict", "series", "anomalies", "off_normal",
              "trends", "limits"}  # fmt: skip
    return found if isinstance(found, dict) and wanted <= found.keys() else None
