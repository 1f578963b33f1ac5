"""Indexes that cost writes and serve nobody: unused, doubled, invalid.

*Unused* means not scanned since the statistics began; a standby has its own counts and a monthly
report its own month, so the age of the statistics is told beside. What enforces uniqueness is never
called unused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from outrider.database import catalog, expressions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.database.catalog import Index

# Younger statistics have not seen a week's jobs.
LEAST_AGE_S = 7 * 86_400.0
LEAST_BYTES = 1 << 20
_TABLES = sa.text("""
SELECT c.oid, n.nspname AS schema, c.relname AS name FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_|^information_schema$'
""")
_AGE = sa.text("""
SELECT extract(epoch FROM now() - coalesce(stats_reset, pg_postmaster_start_time()))::float
FROM pg_stat_database WHERE datname = current_database()
""")


@dataclass(frozen=True, slots=True)
class Idle:
    """An index that may go; ``code`` is unused, duplicate or invalid."""

    code: str
    schema: str
    table: str
    name: str
    bytes: int
    reason: str

    @property
    def ddl(self) -> str:
        """Return the statement that drops it without blocking."""
        name = f"{expressions.quoted(self.schema)}.{expressions.quoted(self.name)}"
        return f"DROP INDEX CONCURRENTLY {name};"


def look(connection: sa.Connection) -> list[Idle]:
    """Return what may go in this database, largest first."""
    age_s = connection.execute(_AGE).scalar() or 0.0
    tables = {row.oid: (row.schema, row.name) for row in connection.execute(_TABLES)}
    found = []
    for oid, indexes in catalog.of_tables(connection, tables).items():
        schema, table = tables[oid]
        found += [
            Idle(code, schema, table, index.name, index.bytes, reason)
            for code, index, reason in judged(indexes, age_s)
        ]
    return sorted(found, key=lambda each: -each.bytes)


def judged(indexes: list[Index], age_s: float) -> Iterator[tuple[str, Index, str]]:
    """Yield (code, index, reason) for what may go of one table's indexes."""
    doubled = set()
    for index in indexes:
        if not index.valid:
            yield (
                "invalid",
                index,
                "a CREATE INDEX CONCURRENTLY did not finish; every write feeds it.",
            )
    for one, other in itertools.permutations([each for each in indexes if each.valid], 2):
        if one.name in doubled or not _covers(other, one):
            continue
        # Of two alike the one of a constraint stays, else the first by name.
        if _covers(one, other) and (one.constrains, other.name) > (other.constrains, one.name):
            continue
        if one.constrains or (one.unique and not (other.unique and other.keys == one.keys)):
            continue
        doubled.add(one.name)
        yield "duplicate", one, f"{other.name} begins with the same keys and serves for both."
    days = age_s / 86_400
    for index in indexes:
        idle = index.valid and not (index.scans or index.unique or index.constrains)
        if idle and index.name not in doubled and index.bytes >= LEAST_BYTES:
            since = f"not scanned in the {days:.1f} days since statistics began"
            young = "" if age_s >= LEAST_AGE_S else "; wait for a week of them"
            yield "unused", index, f"{since}{young}."


def _covers(wide: Index, narrow: Index) -> bool:
    return (
        wide.method == narrow.method == "btree"
        and wide.predicate == narrow.predicate
        and wide.keys[: len(narrow.keys)] == narrow.keys
        and set(narrow.included) <= {*wide.included, *wide.keys}
    )
