"""Every Redis key of the cache, in one place.

| key | holds |
|---|---|
| ``or:cache:v:{namespace}:{key}`` | a cached value: msgpack, see ``outrider.cache.codec`` |
| ``or:cache:namespaces`` | sorted set: namespace -> time of its last use |
| ``or:cache:use:{namespace}`` | hash: key -> msgpack of its use, see ``outrider.cache.usage`` |
| ``or:cache:warmed:{namespace}`` | hash: key warmed and not yet used -> when it was warmed |
| ``or:cache:tally:{namespace}:{hour}`` | hash: loads, warmed, warmed_hits of one hour |
| ``or:cache:planned`` | when warming was planned last |
"""

from __future__ import annotations

NAMESPACES = "or:cache:namespaces"
PLANNED = "or:cache:planned"
HOUR_S = 3600


def value(namespace: str, key: str) -> str:
    """Return the key of a cached value."""
    return f"or:cache:v:{namespace}:{key}"


def usage(namespace: str) -> str:
    """Return the key of a namespace's recorded usage."""
    return f"or:cache:use:{namespace}"


def warmed(namespace: str) -> str:
    """Return the key of what was warmed and not used yet."""
    return f"or:cache:warmed:{namespace}"


def tally(namespace: str, now_s: float) -> str:
    """Return the key of the load counts of the hour that ``now_s`` lies in."""
    return f"or:cache:tally:{namespace}:{int(now_s // HOUR_S)}"
