"""Every Redis key of the cache, in one place.

| key | holds |
|---|---|
| ``or:cache:v:{namespace}{generation}:{key}`` | a cached value (see ``outrider.cache.codec``) |
| ``or:cache:l:{namespace}{generation}:{key}`` | who loads it now: a fencing token, for seconds |
| ``or:cache:t:{namespace}:{tag}`` | sorted set: key that bears the tag -> until when at most |
| ``or:cache:state:{namespace}`` | hash: epoch, invalidations, newest token, versions |
| ``or:cache:s:{writer}`` | a value on its way to its key, within one transaction |
| ``or:cache:i:{namespace}`` | channel: what was invalidated |
| ``or:cache:w:{namespace}`` | channel: what was written, for those who may not track keys |
| ``or:cache:namespaces`` | sorted set: namespace -> time of its last use |
| ``or:cache:use:{namespace}`` | hash: key -> msgpack of its use, see ``outrider.cache.usage`` |
| ``or:cache:warmed:{namespace}`` | hash: key warmed and not yet used -> when it was warmed |
| ``or:cache:tally:{namespace}:{hour}`` | hash: loads, warmed, warmed_hits of one hour |
| ``or:cache:log:{namespace}`` | stream: which keys were used when, and planned to be loaded when |
| ``or:cache:due:{namespace}`` | sorted set: key that a bot has to load itself -> when |
| ``or:cache:plan:{namespace}`` | hash: what warming has done, and why it does nothing |
| ``or:cache:planned`` | when warming was planned last, and up to when |
| ``or:cache:planned:again`` | that a plan out of turn is on its way |

The generation is empty until a namespace is flushed or its loader has a version; then it is
``@{epoch}.{version}``. What an older one left is asked for by nobody, and expires by itself.
"""

from __future__ import annotations

NAMESPACES = "or:cache:namespaces"
PLANNED = "or:cache:planned"
REPLANNED = "or:cache:planned:again"
HOUR_S = 3600
VALUES = "or:cache:v:"
INVALIDATED = "or:cache:i:"
WRITTEN = "or:cache:w:"


def generation(epoch: str, version: str) -> str:
    """Return what sets a generation of values apart from the others of its namespace.

    >>> generation("", ""), generation("17", "b")
    ('', '@17.b')
    """
    return f"@{epoch}.{version}" if epoch or version else ""


def value(namespace: str, key: str, generation: str = "") -> str:
    """Return the key of a cached value."""
    return f"{VALUES}{namespace}{generation}:{key}"


def lease(namespace: str, key: str, generation: str = "") -> str:
    """Return the key of who loads a value now."""
    return f"or:cache:l:{namespace}{generation}:{key}"


def state(namespace: str) -> str:
    """Return the key of a namespace's epoch and counters."""
    return f"or:cache:state:{namespace}"


def tag(namespace: str, name: str) -> str:
    """Return the key of those that bear a tag."""
    return f"or:cache:t:{namespace}:{name}"


def staging(writer: str) -> str:
    """Return the key through which a process hands over what it writes."""
    return f"or:cache:s:{writer}"


def usage(namespace: str) -> str:
    """Return the key of a namespace's recorded usage."""
    return f"or:cache:use:{namespace}"


def log(namespace: str) -> str:
    """Return the key of the stream of a namespace's uses."""
    return f"or:cache:log:{namespace}"


def due(namespace: str) -> str:
    """Return the key of what a namespace's bots have to load themselves."""
    return f"or:cache:due:{namespace}"


def plan(namespace: str) -> str:
    """Return the key of the planner's word on a namespace."""
    return f"or:cache:plan:{namespace}"


def warmed(namespace: str) -> str:
    """Return the key of what was warmed and not used yet."""
    return f"or:cache:warmed:{namespace}"


def tally(namespace: str, now_s: float) -> str:
    """Return the key of the load counts of the hour that ``now_s`` lies in."""
    return f"or:cache:tally:{namespace}:{int(now_s // HOUR_S)}"
