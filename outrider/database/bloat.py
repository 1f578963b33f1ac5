"""What VACUUM has not kept up with: dead rows, and transaction numbers that run out.

Bloat is told by the server's own count of dead rows, not by an estimate of page fill: that one is
off by a factor for rows of uneven width.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

DEAD_RATIO = 0.2
LEAST_DEAD = 10_000
# The server refuses writes at 2^31; autovacuum is forced at 200 million.
WRAPAROUND = 2**31
AGE_RATIO = 0.5
_DEAD = sa.text("""
SELECT schemaname AS schema, relname AS name, n_live_tup AS live, n_dead_tup AS dead,
  pg_table_size(relid) AS bytes,
  extract(epoch FROM now() - greatest(last_vacuum, last_autovacuum))::float AS vacuumed_s_ago
FROM pg_stat_user_tables
WHERE n_dead_tup >= :least AND n_dead_tup > :ratio * (n_live_tup + n_dead_tup)
ORDER BY n_dead_tup DESC LIMIT 20
""")
_AGE = sa.text("SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()")


@dataclass(frozen=True, slots=True)
class Bloated:
    """A table of which a large part is dead rows; ``vacuumed_s_ago`` is None when it never was."""

    schema: str
    name: str
    live: int
    dead: int
    bytes: int
    vacuumed_s_ago: float | None

    @property
    def dead_ratio(self) -> float:
        """Return the share of dead rows."""
        return self.dead / (self.live + self.dead)


@dataclass(frozen=True, slots=True)
class Age:
    """How far the oldest row's transaction number is on its way to where writes are refused."""

    transactions: int

    @property
    def used_ratio(self) -> float:
        """Return 1 where the server stops."""
        return self.transactions / WRAPAROUND

    @property
    def alarming(self) -> bool:
        """Tell whether autovacuum has lost the race: it is forced at a tenth."""
        return self.used_ratio > AGE_RATIO


def tables(
    connection: sa.Connection, *, least: int = LEAST_DEAD, ratio: float = DEAD_RATIO
) -> list[Bloated]:
    """Return the tables with most dead rows."""
    rows = connection.execute(_DEAD, {"least": least, "ratio": ratio}).mappings()
    return [Bloated(**row) for row in rows]


def age(connection: sa.Connection) -> Age:
    """Return this database's wraparound age."""
    return Age(connection.execute(_AGE).scalar_one())
