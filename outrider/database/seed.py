"""The presets that Outrider began with, and what was wrong with them; kept as the thing to beat.

They size one process. Measured at a stock server's ``max_connections = 100`` (97 for ordinary
roles), 8 bots in a burst, 4 runs: ``docs/benchmarks.md``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seed:
    """Connections of one process, and the share of a burst's transactions that 8 of it finished."""

    name: str
    pool_size: int
    max_overflow: int
    finished: str
    fault: str

    @property
    def most(self) -> int:
        """Return how many connections one process may open."""
        return self.pool_size + self.max_overflow


SEEDS = (
    Seed("SQLAlchemy's defaults", 5, 10, "99 to 100 %",
         "errors in 3 runs of 4, twice the connections opened"),
    Seed("development", 3, 7, "100 %", "fits 8 bots, not 10; overflow opens and closes"),
    Seed("staging", 5, 20, "100 %", "360 connections opened for 960 transactions; one error"),
    Seed("production", 15, 60, "28 to 50 %", "six times over the server's limit"),
    Seed("high_performance", 25, 75, "32 to 35 %", "eight times over; one process alone is over"),
)  # fmt: skip

# ruff: noqa: ISC004 - a table reads better without more brackets

# Value of the seed -> what is wrong with it -> what stands in its place.
FAULTS = (
    ("overflow for peaks", "SQLAlchemy closes an overflow connection on its return, and a connect"
     " costs 30 short queries", "max_overflow 0; a pool that grows by leases"),
    ("read 75 %, write 25 %", "two pools of n wait longer than one of 2n; the floors broke their"
     " own sum (40 bots: 120 of 100)", "one pool"),
    ("pool timeout 20 s", "longer than a chat handler may wait", "half of the handler's deadline"),
    ("command timeout 10 to 30 s", "on the client only: the server worked on",
     "statement_timeout, lock_timeout and idle_in_transaction_session_timeout, by the server"),
    ("recycle 1800 s for all", "all reconnect at once", "each with +-20 %"),
    ("prepared cache 1000", "psycopg keeps 100 a connection; useless behind PgBouncer before 1.21",
     "the driver's own"),
    ("30 % for high priority", "SQLAlchemy's pool can't enforce it", "a weight in the plan"),
    ("slow above 100 ms", "a key is read in 1 ms: fifty times slower went unseen",
     "a baseline for each statement"),
    ("superuser", "takes the connections that are kept for repair", "refused; a role for each bot"),
)  # fmt: skip
