"""Indexes that could serve a statement. The planner decides between them, not we.

For each table: its compared expressions in every combination of up to three, those with most
different values first, alone or with one range or one order behind them; the same again within
each rare condition that holds for all rows asked (a partial index). Where two orders of the same
equal keys serve alike, only one is tried.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.database import expressions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from outrider.database.access import Access
    from outrider.database.catalog import Column, Table

# A table of fewer rows is read as quickly as an index.
LEAST_ROWS = 1000
MOST_EQUAL = 4
MOST_KEYS = 3
MOST_CANDIDATES = 40
# A partial index that holds more of the table than this is no cheaper than a whole one.
RARE_RATIO = 0.25
# More values than this are data, not states: an index for one of them serves one user.
MOST_STATES = 100
_GIN = {"jsonb": "jsonb_path_ops", "tsvector": ""}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index to try. ``keys`` are SQL; ``free`` of them, the first, may stand in any order."""

    schema: str
    table: str
    keys: tuple[str, ...]
    where: str | None = None
    method: str = "btree"
    free: int = 0

    def ddl(
        self, name: str | None = None, *, on: str | None = None, concurrently: bool = False
    ) -> str:
        """Return its CREATE INDEX, on another table than its own if asked."""
        table = on or f"{expressions.quoted(self.schema)}.{expressions.quoted(self.table)}"
        how = "" if self.method == "btree" else f" USING {self.method}"
        where = f" WHERE {self.where}" if self.where else ""
        return (
            f"CREATE INDEX {'CONCURRENTLY ' if concurrently else ''}"
            f"{expressions.quoted(name) + ' ' if name else ''}ON {table}{how}"
            f" ({', '.join(self.keys)}){where}"
        )


def of(
    access: Access, table: Table, *, extensions: Collection[str] = (), c_collation: bool = False
) -> list[Candidate]:
    """Return the indexes on one table that could serve one use of it."""
    if table.rows < LEAST_ROWS:
        return []
    found: dict[Candidate, None] = {}
    for candidate in itertools.chain(
        _plain(access, table, c_collation=c_collation),
        _partial(access, table, c_collation=c_collation),
        _inverted(access, table, extensions),
    ):
        if not covered(candidate, table):
            found[candidate] = None
    return list(found)[:MOST_CANDIDATES]


def covered(candidate: Candidate, table: Table) -> bool:
    """Tell whether an index that exists begins with the same keys."""
    plain = tuple(key.replace('"', "") for key in candidate.keys)
    return any(
        index.valid
        and index.method == candidate.method
        and index.predicate is None
        and tuple(key.replace('"', "") for key in index.keys[: len(plain)]) == plain
        for index in table.indexes
    )


def _plain(access: Access, table: Table, *, c_collation: bool) -> Iterator[Candidate]:
    equal = _by_selectivity(access.equal, table)[:MOST_EQUAL]
    yield from _combined(table, equal, _tails(access, table, c_collation=c_collation), None)


def _partial(access: Access, table: Table, *, c_collation: bool) -> Iterator[Candidate]:
    rare = {
        condition: key
        for condition, (key, value) in access.given.items()
        if 0 < _ratio(table, key, value) <= RARE_RATIO
    }
    wheres: list[tuple[str, ...]] = [(condition,) for condition in rare]
    if len(rare) > 1:
        wheres.append(tuple(rare))
    tails = _tails(access, table, c_collation=c_collation)
    for where in wheres:
        taken = {rare[condition] for condition in where}
        equal = [key for key in _by_selectivity(access.equal, table) if key not in taken]
        written = " AND ".join(where)
        yield from _combined(table, equal[: MOST_KEYS - 1], tails, written)
        # The condition alone may be rare enough: then the keys only have to be small.
        yield Candidate(table.schema, table.name, (rare[where[0]],), written, free=1)


def _inverted(access: Access, table: Table, extensions: Collection[str]) -> Iterator[Candidate]:
    for key in access.within:
        column = _column(table, key)
        kind = column.type if column else "tsvector" if "to_tsvector" in key else ""
        if kind in _GIN or kind.endswith("[]"):
            spelled = f"{key} {_GIN.get(kind, '')}".strip()
            yield Candidate(table.schema, table.name, (spelled,), method="gin")
    if "pg_trgm" in extensions:
        for key in access.similar:
            yield Candidate(table.schema, table.name, (f"{key} gin_trgm_ops",), method="gin")


def _combined(
    table: Table, equal: list[str], tails: list[tuple[str, ...]], where: str | None
) -> Iterator[Candidate]:
    for size in range(min(len(equal), MOST_KEYS) + 1):
        for keys in itertools.combinations(equal, size):
            if keys:
                yield Candidate(table.schema, table.name, keys, where, free=size)
            for tail in tails:
                rest = tuple(key for key in tail if key.split(" ")[0] not in keys)
                if rest:
                    yield Candidate(table.schema, table.name, keys + rest, where, free=size)


def _tails(access: Access, table: Table, *, c_collation: bool) -> list[tuple[str, ...]]:
    """Return what may stand behind the equal keys: a range, a prefix or an order."""
    tails: dict[tuple[str, ...], None] = {}
    for key in access.ranges:
        tails[key,] = None
    for key in access.prefixes:
        tails[(key if c_collation else f"{key} {_pattern_class(table, key)}",)] = None
    for order in access.orders:
        whole = [(key, direction) for key, direction in order if key not in access.equal]
        # Behind the row's own key nothing is left to order.
        for place, (key, _) in enumerate(whole):
            if any(
                index.unique and len(index.keys) == 1 and f'"{index.keys[0]}"' == key
                for index in table.indexes
            ):
                whole = whole[: place + 1]
                break
        if not whole or len(whole) > MOST_KEYS:
            continue
        # An index is read backwards as well as forwards.
        if all(direction == " DESC" for _, direction in whole):
            tails[tuple(key for key, _ in whole)] = None
        else:
            tails[tuple(key + direction for key, direction in whole)] = None
        if len(whole) > 1 and all(not d or d == " DESC" for _, d in whole):
            tails[(whole[0][0],)] = None
    return list(tails)


def _pattern_class(table: Table, key: str) -> str:
    column = _column(table, key)
    return (
        "varchar_pattern_ops"
        if column and column.type.startswith("character varying")
        else "text_pattern_ops"
    )


def _by_selectivity(keys: Collection[str], table: Table) -> list[str]:
    """Order keys by how many values they have; truth values are left to partial indexes."""
    kept = [
        key for key in keys if not ((column := _column(table, key)) and column.type == "boolean")
    ]
    return sorted(kept, key=lambda key: -_distinct(table, key))


def _distinct(table: Table, key: str) -> float:
    column = _column(table, key)
    if column is None or column.distinct is None:
        return table.rows / 10  # an expression: nothing is known, so it may well be telling
    return column.distinct


def _ratio(table: Table, key: str, value: str) -> float:
    """Return which share of the rows fulfils a condition; 1 where nothing is known."""
    column = _column(table, key)
    if column is None or column.distinct is None:
        return 1.0
    if value == "IS NULL":
        return column.null_ratio
    if value == "IS NOT NULL":
        return 1.0 - column.null_ratio
    if column.distinct > MOST_STATES:
        return 1.0
    if value.startswith("<>"):
        return 1.0 - column.null_ratio - column.common.get(value[2:], 0.0)
    # Not among the common ones: an equal part of what they leave, and never nothing.
    rest = 1.0 - column.null_ratio - sum(column.common.values())
    unlisted = rest / max(column.distinct - len(column.common), 1.0)
    return column.common.get(value, max(unlisted, 1.0 / table.rows))


def _column(table: Table, key: str) -> Column | None:
    return table.columns.get(key.strip('"').replace('""', '"'))
