"""The four presets of an engine, each value with its reason.

A preset is what one process gets when nobody counted the fleet; a plan (see
:mod:`outrider.database.pools`) overrides the pool's size. Overflow is 0 in all of them: SQLAlchemy
closes an overflow connection on its return, so a peak pays for a new connection (12 ms) at each
checkout instead of waiting some ms for one that is open, and no plan can count on its sum.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "development"
# A statement that reads needs no transaction of its own around it.
READ_ISOLATION = "AUTOCOMMIT"

_SHARED_REASONS = {
    "superuser": "a bot that is superuser eats the connections reserved for repair: two idle"
    " poolers did, and nobody got in any more; it can also drop everything",
    "ping_after_s": "a connection that idled for half a minute may have been dropped by a firewall;"
    " one that the server closed is seen without asking, so that no other is pinged",
    "max_overflow": "an overflow connection is closed on return: a peak would open and close"
    " connections instead of using them, and the fleet's sum could not be planned",
    "recycle_jitter_ratio": "every process recycles at a moment of its own; all at once would be a"
    " storm of connects",
    "use_lifo": "the connection used last is used next, so the rest stay idle and can be closed",
    "prepare_after": "a statement that came five times will come again: it is prepared then, and"
    " the server parses and plans it no more (1.35 to 1.59 times the throughput); behind a pooler"
    " nothing is prepared",
    "prepared_most": "psycopg's own; each is memory in every connection of the server, and a bot"
    " has some dozens of statements",
    "read_isolation": "for outrider.for_reads(engine): a read without BEGIN and ROLLBACK takes"
    " half the time",
    "application_name": "says in pg_stat_activity whose connection it is; a bot's own name"
    " replaces it",
}


@dataclass(frozen=True, slots=True)
class Preset:
    """How one process connects. Times are in seconds.

    ``pool_least`` is what a plan should not go below, ``pool_most`` what it does not exceed.
    """

    name: str
    pool_least: int
    pool_size: int
    pool_most: int
    pool_timeout_s: float
    recycle_s: float
    pre_ping: bool
    statement_timeout_s: float
    lock_timeout_s: float
    idle_in_transaction_timeout_s: float
    reasons: Mapping[str, str]
    superuser: Literal["refused", "named"] = "refused"
    ping_after_s: float = 30.0
    prepare_after: int = 5
    prepared_most: int = 100
    read_isolation: str = READ_ISOLATION
    max_overflow: int = 0
    recycle_jitter_ratio: float = 0.2
    use_lifo: bool = True
    application_name: str = "outrider"


def _preset(reasons: dict[str, str], **values: Any) -> Preset:
    return Preset(reasons=MappingProxyType(_SHARED_REASONS | reasons), **values)


DEVELOPMENT = _preset(
    name="development",
    pool_least=1,
    pool_size=3,
    pool_most=5,
    pool_timeout_s=10.0,
    recycle_s=1800.0,
    pre_ping=True,
    statement_timeout_s=30.0,
    lock_timeout_s=5.0,
    idle_in_transaction_timeout_s=300.0,
    superuser="named",
    reasons={
        "superuser": "the first database on a laptop has no other role; it is named in the log",
        "pool_least": "one person, one request at a time",
        "pool_size": "small, so that a connection that is never given back shows at once",
        "pool_most": "a laptop's server is shared with tests and tools",
        "pool_timeout_s": "long enough to look at what holds the connections",
        "recycle_s": "half an hour, below the idle limits of usual firewalls",
        "pre_ping": "of a QueuePool that you pass; ours sees a restart by itself",
        "statement_timeout_s": "ends the query without its WHERE; leaves time for slow first tries",
        "lock_timeout_s": "a forgotten session with a lock is named within seconds",
        "idle_in_transaction_timeout_s": "five minutes for a breakpoint inside a transaction",
    },
)
STAGING = _preset(
    name="staging",
    pool_least=1,
    pool_size=5,
    pool_most=10,
    pool_timeout_s=5.0,
    recycle_s=1800.0,
    pre_ping=True,
    statement_timeout_s=15.0,
    lock_timeout_s=3.0,
    idle_in_transaction_timeout_s=60.0,
    reasons={
        "pool_least": "load is light, and the server small",
        "pool_size": "ten processes of it fit a server with its stock 100 connections",
        "pool_most": "what is needed beyond this should be seen before production",
        "pool_timeout_s": "half of the 10 s in which a handler should have answered",
        "recycle_s": "half an hour, below the idle limits of usual firewalls",
        "pre_ping": "of a QueuePool that you pass; ours sees a restart by itself",
        "statement_timeout_s": "slower than production's, so that a slow query is measured"
        " rather than cut off",
        "lock_timeout_s": "migrations are tried here; what waits for them fails by name",
        "idle_in_transaction_timeout_s": "a call to an API inside a transaction shows here",
    },
)
PRODUCTION = _preset(
    name="production",
    pool_least=2,
    pool_size=8,
    pool_most=20,
    pool_timeout_s=5.0,
    recycle_s=1800.0,
    pre_ping=True,
    statement_timeout_s=10.0,
    lock_timeout_s=2.0,
    idle_in_transaction_timeout_s=30.0,
    reasons={
        "pool_least": "one held connection must not stop a bot",
        "pool_size": "eleven processes of it fit a server with its stock 100 connections",
        "pool_most": "one process of Python does not keep more than this busy",
        "pool_timeout_s": "half of the 10 s in which a handler should have answered",
        "recycle_s": "half an hour, below the idle limits of usual firewalls",
        "pre_ping": "of a QueuePool that you pass; ours sees a restart by itself",
        "statement_timeout_s": "nobody waits longer for a bot; the server stops working too",
        "lock_timeout_s": "a queue behind one lock ends before the pool is empty",
        "idle_in_transaction_timeout_s": "gives the connection back when a handler hangs",
    },
)
HIGH_PERFORMANCE = _preset(
    name="high_performance",
    pool_least=2,
    pool_size=11,
    pool_most=40,
    pool_timeout_s=2.0,
    recycle_s=1800.0,
    pre_ping=False,
    statement_timeout_s=5.0,
    lock_timeout_s=1.0,
    idle_in_transaction_timeout_s=10.0,
    reasons={
        "pool_least": "one held connection must not stop a bot",
        "pool_size": "eight processes of it fit a server with its stock 100 connections",
        "pool_most": "for handlers that wait for an API inside a transaction",
        "pool_timeout_s": "under load it is better to fail early than to queue",
        "recycle_s": "half an hour, below the idle limits of usual firewalls",
        "pre_ping": "of a QueuePool that you pass: it saves the round trip (30 % of a short query)",
        "statement_timeout_s": "one slow statement must not hold one of few connections",
        "lock_timeout_s": "a queue behind one lock ends before the pool is empty",
        "idle_in_transaction_timeout_s": "gives the connection back when a handler hangs",
    },
)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (DEVELOPMENT, STAGING, PRODUCTION, HIGH_PERFORMANCE)}
)


def by_name(name: str) -> Preset:
    """Return a preset.

    >>> by_name("production").pool_size
    8

    Raises:
        BadArgument: there is none of that name.
    """
    try:
        return PRESETS[name]
    except KeyError:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise BadArgument(
            f"there is no database preset {name!r}; choose one of {', '.join(PRESETS)}.{hint}"
        ) from None


def explain(preset: Preset) -> list[tuple[str, Any, str]]:
    """Return ``(name, value, reason)`` of each value of a preset.

    >>> explain(by_name("staging"))[0]
    ('pool_least', 1, 'load is light, and the server small')
    """
    return [
        (field.name, getattr(preset, field.name), preset.reasons[field.name])
        for field in dataclasses.fields(preset)
        if field.name not in {"name", "reasons"}
    ]
