"""Every Redis key of the cache, in one place.

| key | holds |
|---|---|
| ``or:cache:v:{namespace}:{key}`` | a cached value: msgpack, see ``outrider.cache.codec`` |
| ``or:cache:namespaces`` | sorted set: namespace -> time of its last use |
| ``or:cache:use:{namespace}`` | hash: key -> msgpack of its use, see ``outrider.cache.usage`` |
| ``or:cache:warmed:{namespace}`` | hash: key warmed and not yet used -> when it was warmed |
| ``or:cache:tally:{namespace}:{hour}`` | hash: loads, warmed, warmed_hits of one hour |
| ``or:cache:log:{namespace}`` | stream: which keys were used when, and planned to be loaded when |
| ``or:cache:due:{namespace}`` | sorted set: key that a bot has to load itself -> when |
| ``or:cache:fence:{namespace}`` | hash: key -> token of the newest load ahead of it |
| ``or:cache:plan:{namespace}`` | hash: what warming has done, and why it does nothing |
| ``or:cache:planned`` | when warming was planned last, and up to when |
| ``or:cache:planned:again`` | that a plan out of turn is on its way |
| ``or:cache:token`` | the newest fencing token of a load ahead |
"""

from __future__ import annotations

NAMESPACES = "or:cache:namespaces"
PLANNED = "or:cache:planned"
REPLANNED = "or:cache:planned:again"
TOKEN = "or:cache:token"  # noqa: S105 - a fencing token, no secret
HOUR_S = 3600


def value(namespace: str, key: str) -> str:
    """Return the key of a cached value."""
    return f"or:cache:v:{namespace}:{key}"


def usage(namespace: str) -> str:
    """Return the key of a namespace's recorded usage."""
    return f"or:cache:use:{namespace}"


def log(namespace: str) -> str:
    """Return the key of the stream of a namespace's uses."""
    return f"or:cache:log:{namespace}"


def due(namespace: str) -> str:
    """Return the key of what a namespace's bots have to load themselves."""
    return f"or:cache:due:{namespace}"


def fence(namespace: str) -> str:
    """Return the key of the newest tokens of a namespace's loads ahead."""
    return f"or:cache:fence:{namespace}"


def plan(namespace: str) -> str:
    """Return the key of the planner's word on a namespace."""
    return f"or:cache:plan:{namespace}"


def warmed(namespace: str) -> str:
    """Return the key of what was warmed and not used yet."""
    return f"or:cache:warmed:{namespace}"


def tally(namespace: str, now_s: float) -> str:
    """Return the key of the load counts of the hour that ``now_s`` lies in."""
    return f"or:cache:tally:{namespace}:{int(now_s // HOUR_S)}"
