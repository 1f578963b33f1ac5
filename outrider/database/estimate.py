"""What an index would save, reckoned from statistics: for a standby, where nothing can be tried.

The planner still says how many rows each part of a statement brings (its plan of today). From that
and pg_stats' number of distinct values follows how many rows an index would fetch, at PostgreSQL's
own prices: a random page for each, its ``cpu_index_tuple_cost`` and ``cpu_tuple_cost``. Orders are
not reckoned, only look-ups. Taken for independent, columns that go together are misjudged; hence
the lower confidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from outrider.database import explain
from outrider.database.index_trial import Tried

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import sqlalchemy as sa

    from outrider.database.candidates import Candidate
    from outrider.database.catalog import Table

_RANDOM_PAGE, _CPU_ROW, _CPU_ENTRY = 4.0, 0.01, 0.005
_ENTRY_BYTES = 20
_READ = frozenset({"Seq Scan", "Bitmap Heap Scan", "Index Scan", "Parallel Seq Scan"})


class Estimate:
    """Costs by arithmetic; see the module."""

    confidence = "low: reckoned from statistics, since nothing can be tried on this server"

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._tables: dict[str, Table] = {}

    def take(self, tables: Collection[Table]) -> None:
        """Keep the statistics of these tables."""
        self._tables |= {table.name: table for table in tables}

    def plan(self, statement: explain.Statement, indexes: Collection[Candidate]) -> Tried:
        """Return today's cost less what the best index for each scan would save."""
        tree = explain.plan(self._connection, statement)
        cost, used = tree["Total Cost"], set()
        for node in explain.nodes(tree):
            if node["Node Type"] not in _READ or "Filter" not in node:
                continue
            priced = [
                (self._look_up(index), index)
                for index in indexes
                if index.table == node.get("Relation Name") and _asked(index, node["Filter"])
            ]
            best = min(priced, key=lambda each: (each[0], len(each[1].keys)), default=None)
            own = node["Total Cost"]
            if best is not None and best[0] < own:
                cost -= own - best[0]
                used.add(best[1])
        return Tried(max(cost, 0.01), frozenset(used))

    def size_bytes(self, index: Candidate) -> int:
        """Return rows times what an entry takes, for each key."""
        rows = self._tables[index.table].rows
        return round(rows * _ENTRY_BYTES * (1 + (len(index.keys) - 1) * 0.4))

    def buildable(self, indexes: Sequence[Candidate]) -> list[Candidate]:
        """Return those on plain columns alone: of others it can't be asked whether they can be."""
        return [
            index
            for index in indexes
            if index.method == "btree" and index.free == len(index.keys) and not index.where
            and not any("(" in key for key in index.keys)
        ]  # fmt: skip

    def quicker(self, statement: explain.Statement, indexes: Collection[Candidate]) -> None:
        """Return None: what does not exist can't be timed."""
        del statement, indexes

    def _look_up(self, index: Candidate) -> float:
        table = self._tables[index.table]
        rows = table.rows
        for key in index.keys:
            column = table.columns.get(key.strip('"'))
            rows /= max((column.distinct if column else None) or 1.0, 1.0)
        rows = max(rows, 1.0)
        descent = math.log2(max(table.rows, 2)) * 0.0025 + 2 * _RANDOM_PAGE
        return descent + rows * (_RANDOM_PAGE + _CPU_ROW + _CPU_ENTRY)


def _asked(index: Candidate, condition: str) -> bool:
    """Tell whether a filter, as EXPLAIN shows it, compares all keys with something."""
    return all(
        f"{key.strip(chr(34))} = " in condition or f"({key.strip(chr(34))})" in condition
        for key in index.keys
    )
