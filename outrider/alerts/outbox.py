"""The outbox: changes of state that people are to be told of, until a group takes them.

``journal.commit`` puts a change in with the very transaction that stores it. From there nothing is
lost by a process that dies, since each step is one transaction on the server::

    commit ─► outbox ─take─► group of alerts ─tell─► message a channel ─sent─► log

``take`` moves changes from the outbox into groups; ``groups.tell`` writes the messages and notes
what people know; a message goes only when its channel answered. A step that is cut off did not
happen, and is done again by whoever comes next; only the sending itself can happen twice.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from outrider.alerts import labels, routes
from outrider.alerts.message import line
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from outrider.alerts.routes import Route

# States of which people are told; all others are the end of these, or nobody's business.
ACTIVE = frozenset({"firing", "recovering", "no_data", "error"})
_AT_ONCE = 500
_TAKE = resources.files("outrider.alerts").joinpath("take.lua").read_text("utf-8")


def is_news(before: str, to: str) -> bool:
    """Tell whether people must be told of a change: of what begins, and of its end.

    >>> is_news("pending", "firing"), is_news("firing", "recovering")
    (True, False)
    """
    return to != "recovering" and (to in ACTIVE or before in ACTIVE)


def waiting(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the changes that no group took yet, oldest first."""
    stored = cast("dict[bytes, bytes]", client.hgetall(keys.OUTBOX))
    return sorted((json.loads(text) for text in stored.values()), key=lambda change: change["at_s"])


def put(client: redis.Redis, change: Mapping[str, Any]) -> None:
    """Put a change in."""
    client.hset(keys.OUTBOX, str(change["id"]), json.dumps(change))


def take(client: redis.Redis, given: list[Route], now_s: float) -> int:
    """Move changes into the groups of their routes, some hundred at a time; return how many.

    Of two changes of an alert the later counts, in whatever order they come. An end takes the
    alert's acknowledgement along.
    """
    script, taken, cursor = client.register_script(_TAKE), 0, 0
    while True:
        cursor, found = cast("Any", client.hscan(keys.OUTBOX, cursor, count=_AT_ONCE))
        if found:
            moves = [_move(json.loads(text), given) for text in found.values()]
            taken += cast(
                "int",
                script(keys=[keys.OUTBOX, keys.GROUPS, keys.ACKS], args=[now_s, json.dumps(moves)]),
            )
        if not cursor:
            return taken


def _move(change: dict[str, Any], given: list[Route]) -> dict[str, Any]:
    found = labels.of(change)
    groups = []
    for route in routes.of(given, found):
        name, shared = route.group(found)
        groups.append(
            {
                "id": name, "route": route.name, "labels": json.dumps(shared),
                "wait": route.group_wait_s, "interval": route.group_interval_s,
            }
        )  # fmt: skip
    kept = line(change) | {"labels": change.get("labels") or {}}
    return {
        "id": change["id"], "key": labels.key(change), "at_s": change["at_s"],
        "ended": change["to"] not in ACTIVE, "groups": groups,
        "text": f"{change['at_s']!r} {json.dumps(kept)}",
    }  # fmt: skip
