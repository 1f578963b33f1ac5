"""What bots say their statements cost: by fingerprint, without values, kept in Redis.

Each process leaves its totals since it began, one record a process: a report that is lost or sent
twice changes nothing. A look takes the difference to what the last look that learnt saw, so that
percentiles are of that time too. Texts are left once a process, apart from the numbers.

The server's own ``pg_stat_statements`` is not needed for any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from outrider import sketch
from outrider.database import calls, fingerprint, top
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis

TTL_S = 7 * 86_400
# Who has not reported for so long is gone: a process reports every half minute.
GONE_AFTER_S = 300.0
MOST_PROCESSES = 500
MOST_TEXTS = 5000
OTHER = "other"
_P99 = 0.99


class Sum(msgspec.Struct, array_like=True):
    """The cost of one shape of statement in one process so far."""

    calls: int
    total_s: float
    rows: int
    errors: int
    buckets: bytes


class Record(msgspec.Struct):
    """What one process said, and when."""

    at_s: float
    sums: dict[str, Sum]


@dataclass(frozen=True, slots=True)
class Report:
    """The totals of one process by fingerprint, and a text of each."""

    sums: Mapping[str, Sum]
    texts: Mapping[str, str]


def by_shape(costs: Mapping[str, calls.Cost]) -> Report:
    """Add up costs by fingerprint. Parses each text that is new, 200 µs each."""
    texts: dict[str, str] = {}
    added: dict[str, calls.Cost] = {}
    for text, cost in costs.items():
        if text == calls.OTHER:
            shape = fingerprint.Fingerprint(OTHER, text)
        else:  # psycopg is sent %% for each %, which the parser would take for another operator
            shape = fingerprint.of(fingerprint.numbered(text) if "%%" in text else text)
        texts.setdefault(shape.id, shape.text)
        known = added.setdefault(shape.id, calls.Cost())
        known.calls += cost.calls
        known.seconds += cost.seconds
        known.rows += cost.rows
        known.errors += cost.errors
        known.buckets = sketch.merge(known.buckets, cost.buckets)
    sums = {
        name: Sum(each.calls, each.seconds, each.rows, each.errors, sketch.encode(each.buckets))
        for name, each in added.items()
    }
    return Report(sums, texts)


def leave(  # noqa: PLR0917 - what is left where, by whom, when
    client: redis.Redis, server: str, process: str, report: Report, now_s: float,
    known: Iterable[str] = (),
) -> None:  # fmt: skip
    """Leave a process's totals; texts only of those that are not ``known`` to be there.

    Raises:
        redis.RedisError: Redis is away.
    """
    new = {name: text for name, text in report.texts.items() if name not in set(known)}
    of, texts = keys.database_statements(server), keys.database_statements(server, "texts")
    with client.pipeline(transaction=False) as pipe:
        pipe.hset(of, process, msgspec.msgpack.encode(Record(now_s, dict(report.sums))))
        pipe.expire(of, TTL_S)
        if new:
            pipe.hset(texts, mapping=cast("Any", new))
        pipe.expire(texts, TTL_S)
        pipe.execute()


def look(
    client: redis.Redis, server: str, *, learn: bool = False, now_s: float = 0.0
) -> list[top.Cost]:
    """Return what statements cost the bots since the last look that learnt; else in all.

    With ``learn`` this look becomes the last, and processes that are gone are forgotten.

    Raises:
        redis.RedisError: Redis is away.
    """
    now = _records(client, keys.database_statements(server))
    before = _records(client, keys.database_statements(server, "before"))
    found = cast("dict[bytes, bytes]", client.hgetall(keys.database_statements(server, "texts")))
    texts = {name.decode(): text.decode(errors="replace") for name, text in found.items()}
    costs: dict[str, list[tuple[Sum, dict[int, int]]]] = {}
    for process, record in now.items():
        earlier = before[process].sums if process in before else {}
        for name, each in record.sums.items():
            grown = _since(each, earlier.get(name))
            if grown[0].calls:
                costs.setdefault(name, []).append(grown)
    if learn:
        _learn(client, server, now, set(texts), now_s)
    return [_cost(name, texts.get(name, ""), parts) for name, parts in costs.items()]


def _cost(name: str, text: str, parts: list[tuple[Sum, dict[int, int]]]) -> top.Cost:
    buckets = sketch.merge(*(each for _, each in parts))
    return top.Cost(
        name,
        text,
        sum(each.calls for each, _ in parts),
        sum(each.total_s for each, _ in parts),
        sketch.quantile(buckets, _P99) if buckets else None,
        sum(each.rows for each, _ in parts),
        sum(each.errors for each, _ in parts),
        of_bots=True,
    )


def _since(now: Sum, before: Sum | None) -> tuple[Sum, dict[int, int]]:
    buckets = sketch.decode(now.buckets)
    if before is None or now.calls < before.calls:
        return now, buckets
    grown = Sum(
        now.calls - before.calls,
        max(0.0, now.total_s - before.total_s),
        max(0, now.rows - before.rows),
        max(0, now.errors - before.errors),
        b"",
    )
    return grown, sketch.difference(buckets, sketch.decode(before.buckets))


def _learn(
    client: redis.Redis, server: str, now: dict[str, Record], texts: set[str], now_s: float
) -> None:
    newest = sorted(now, key=lambda process: -now[process].at_s)[:MOST_PROCESSES]
    alive = {name for name in newest if now[name].at_s > now_s - GONE_AFTER_S}
    used = {name for process in alive for name in now[process].sums}
    of, last = keys.database_statements(server), keys.database_statements(server, "before")
    with client.pipeline() as pipe:
        pipe.delete(last)
        for process in alive:
            pipe.hset(last, process, msgspec.msgpack.encode(now[process]))
        pipe.expire(last, TTL_S)
        if gone := now.keys() - alive:
            pipe.hdel(of, *gone)
        if len(texts) > MOST_TEXTS and (unused := texts - used):
            pipe.hdel(keys.database_statements(server, "texts"), *unused)
        pipe.execute()


def _records(client: redis.Redis, key: str) -> dict[str, Record]:
    """Return what is there. Nonsense is left out: any process may write to Redis."""
    found = {}
    for process, message in cast("dict[bytes, bytes]", client.hgetall(key)).items():
        try:
            record = msgspec.msgpack.decode(message, type=Record)
            for each in record.sums.values():
                sketch.decode(each.buckets)
        except (msgspec.MsgspecError, ValueError):
            continue
        found[process.decode(errors="replace")] = record
    return found
