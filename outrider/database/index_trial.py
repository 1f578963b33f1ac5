"""What the planner would do if an index existed: asked from it, never guessed.

Three ways, best first. :class:`Hypothetical` uses the HypoPG extension: the real tables, nothing
built. :class:`Copy` works on every server that lets us make temporary tables: a copy of each table
(a sample of a large one) under its own name in ``pg_temp``, which PostgreSQL looks in first, so
that the statement runs on it unchanged. There the indexes are really built and the statement can
be timed. Neither locks or changes the tables of the fleet; nobody else sees them. A standby allows
neither; :mod:`outrider.database.estimate` then reckons from statistics.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

from outrider.database import explain, expressions, fingerprint
from outrider.database.server import first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from outrider.database.candidates import Candidate
    from outrider.database.catalog import Table

# Rows of a copied table: enough for the planner to prefer an index, few enough to copy in a second.
SAMPLE_ROWS = 200_000
# Sampling by block takes what lies together; below this share it would miss too many values.
_TIMES = 3


@dataclass(frozen=True, slots=True)
class Tried:
    """A plan with certain indexes there: its cost, and which of them it uses."""

    cost: float
    used: frozenset[Candidate]


class Planner(Protocol):
    """Something that plans a statement as if indexes existed."""

    @property
    def confidence(self) -> str:
        """Say how far its answers can be trusted, and why."""
        ...

    def take(self, tables: Collection[Table]) -> None:
        """Make ready for statements on these tables."""

    def plan(self, statement: explain.Statement, indexes: Collection[Candidate]) -> Tried:
        """Plan a statement with these indexes besides those that exist.

        Raises:
            explain.Unexplainable: the server can't plan it.
        """

    def size_bytes(self, index: Candidate) -> int:
        """Return how large the index is, or will be."""

    def buildable(self, indexes: Sequence[Candidate]) -> list[Candidate]:
        """Return those that the server accepts: an expression must be immutable."""

    def quicker(self, statement: explain.Statement, indexes: Collection[Candidate]) -> float | None:
        """Run the statement without and with; return how many times quicker, None if it can't.

        Only a SELECT without parameters is run.
        """


class Hypothetical:
    """HypoPG's indexes on the real tables."""

    confidence = "high: planned by the server with hypothetical indexes (HypoPG)"

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._sizes: dict[Candidate, int] = {}

    def take(self, tables: Collection[Table]) -> None:
        """See :class:`Planner`. Nothing is needed."""

    def plan(self, statement: explain.Statement, indexes: Collection[Candidate]) -> Tried:
        """See :class:`Planner`."""
        names = {}
        try:
            for index in indexes:
                row = self._create(index)
                names[row.indexname] = index
                size = sa.text("SELECT hypopg_relation_size(:oid)")
                self._sizes[index] = self._connection.execute(
                    size, {"oid": row.indexrelid}
                ).scalar_one()
            return _tried(explain.plan(self._connection, statement), names)
        finally:
            explain.run(self._connection, "SELECT hypopg_reset()")

    def size_bytes(self, index: Candidate) -> int:
        """See :class:`Planner`."""
        return self._sizes.get(index, 0)

    def buildable(self, indexes: Sequence[Candidate]) -> list[Candidate]:
        """See :class:`Planner`. HypoPG knows B-trees only, of those that we propose."""
        return [index for index in _buildable(self._connection, indexes) if index.method == "btree"]

    def quicker(self, statement: explain.Statement, indexes: Collection[Candidate]) -> None:
        """Return None: what does not exist can't be timed."""
        del statement, indexes

    def _create(self, index: Candidate) -> sa.Row[Any]:
        create = sa.text("SELECT indexrelid, indexname FROM hypopg_create_index(:ddl)")
        return self._connection.execute(create, {"ddl": index.ddl()}).one()


class Copy:
    """Copies of tables in this session, with real indexes on them. ``connection`` in autocommit."""

    def __init__(
        self, connection: sa.Connection, *, most_rows: int = SAMPLE_ROWS, timeout_s: float = 30.0
    ) -> None:
        self._connection = connection
        self._most_rows = most_rows
        self._timeout_s = timeout_s
        self._shares: dict[str, float] = {}
        self._copied: dict[str, int] = {}
        self._built: dict[Candidate, tuple[str, int]] = {}

    @property
    def confidence(self) -> str:
        """Say how the figures came about."""
        least = min(self._shares.values(), default=1.0)
        if least >= 1.0:
            return "high: built and measured on a copy of the tables"
        return f"high: built and measured on a sample ({least:.0%} of the largest table)"

    def take(self, tables: Collection[Table]) -> None:
        """Copy tables with their indexes, once; what was tried before is dropped.

        Raises:
            sqlalchemy.exc.DBAPIError: no temporary tables are allowed, or no reading.
        """
        # The session is ours alone, and its engine may allow statements two seconds only.
        explain.run(self._connection, f"SET statement_timeout = {round(self._timeout_s * 1000)}")
        for name, _ in self._built.values():
            explain.run(self._connection, f"DROP INDEX pg_temp.{name}")
        self._built.clear()
        for table in tables:
            if self._copied.get(table.name) == table.oid:
                continue
            if table.name in self._copied:
                raise explain.Unexplainable(
                    f"another table named {table.name} was looked at before; advise on each alone."
                )
            share = min(1.0, self._most_rows / table.rows) if table.rows else 1.0
            name, whole = expressions.quoted(table.name), _whole(table)
            sample = f" TABLESAMPLE SYSTEM ({share * 100:.4f})" if share < 1.0 else ""
            explain.run(
                self._connection, f"CREATE TEMP TABLE {name} (LIKE {whole} INCLUDING STATISTICS)"
            )
            explain.run(
                self._connection,
                f"INSERT INTO pg_temp.{name} SELECT * FROM {whole}{sample}",  # noqa: S608 - quoted
            )
            for number, index in enumerate(table.indexes):
                if index.valid:
                    explain.run(
                        self._connection,
                        _moved(index.definition, name, f"outrider_there_{table.oid}_{number}"),
                    )
            explain.run(self._connection, f"VACUUM (ANALYZE) pg_temp.{name}")
            self._shares[table.name] = share
            self._copied[table.name] = table.oid

    def plan(self, statement: explain.Statement, indexes: Collection[Candidate]) -> Tried:
        """See :class:`Planner`."""
        with self._with_only(indexes) as names:
            return _tried(explain.plan(self._connection, _local(statement)), names)

    def size_bytes(self, index: Candidate) -> int:
        """See :class:`Planner`. A sample's size is scaled to the table."""
        self._build(index)
        return round(self._built[index][1] / self._shares[index.table])

    def buildable(self, indexes: Sequence[Candidate]) -> list[Candidate]:
        """See :class:`Planner`."""
        return _buildable(self._connection, indexes)

    def quicker(self, statement: explain.Statement, indexes: Collection[Candidate]) -> float | None:
        """See :class:`Planner`. The least of three runs each: a cold cache does not count."""
        if statement.parameters or not statement.reads:
            return None
        times = []
        for present in ((), indexes):
            with self._with_only(present):
                times.append(self._least_ms(_local(statement)))
        return times[0] / max(times[1], 1e-3)

    def close(self) -> None:
        """Drop the copies."""
        explain.run(self._connection, "DISCARD TEMP")

    def _least_ms(self, statement: explain.Statement) -> float:
        asked = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement.text}"
        runs = [explain.run(self._connection, asked).scalar_one()[0] for _ in range(_TIMES)]
        return min(float(each["Execution Time"]) for each in runs)

    @contextlib.contextmanager
    def _with_only(self, indexes: Collection[Candidate]) -> Iterator[dict[str, Candidate]]:
        """Hold a transaction in which, of all that was built, only these indexes exist."""
        for index in indexes:
            self._build(index)
        with explain.rolled_back(self._connection, timeout_s=self._timeout_s):
            for index, (name, _) in self._built.items():
                if index not in indexes:
                    explain.run(self._connection, f"DROP INDEX pg_temp.{name}")
            yield {self._built[index][0]: index for index in indexes}

    def _build(self, index: Candidate) -> None:
        if index in self._built:
            return
        name = f"outrider_tried_{len(self._built)}"
        on = f"pg_temp.{expressions.quoted(index.table)}"
        explain.run(self._connection, index.ddl(name, on=on))
        if "(" in "".join(index.keys) or index.where:
            # Only ANALYZE tells the planner how an expression's values are spread.
            explain.run(self._connection, f"ANALYZE {on}")
        size = sa.text("SELECT pg_relation_size(to_regclass(:name))")
        bytes_ = self._connection.execute(size, {"name": f"pg_temp.{name}"}).scalar_one()
        self._built[index] = name, bytes_


def can_hypothesise(connection: sa.Connection) -> bool:
    """Tell whether HypoPG is installed in this database."""
    found = sa.text("SELECT true FROM pg_extension WHERE extname = 'hypopg'")
    return bool(connection.execute(found).scalar())


def _tried(tree: dict[str, Any], names: dict[str, Candidate]) -> Tried:
    used = {node.get("Index Name") for node in explain.nodes(tree)}
    return Tried(tree["Total Cost"], frozenset(names[name] for name in used if name in names))


def _buildable(connection: sa.Connection, indexes: Sequence[Candidate]) -> list[Candidate]:
    """Ask the server, on empty tables of the same shape."""
    kept, empty = [], "outrider_empty"
    for table in dict.fromkeys((index.schema, index.table) for index in indexes):
        like = ".".join(map(expressions.quoted, table))
        with explain.rolled_back(connection):
            explain.run(connection, f"CREATE TEMP TABLE {empty} (LIKE {like})")
            for index in indexes:
                if (index.schema, index.table) != table:
                    continue
                explain.run(connection, "SAVEPOINT one")
                try:
                    explain.run(connection, index.ddl(on=f"pg_temp.{empty}"))
                    kept.append(index)
                except sa.exc.DBAPIError as error:
                    _must_be_about_the_index(error)
                explain.run(connection, "ROLLBACK TO SAVEPOINT one")
    return kept


def _must_be_about_the_index(error: sa.exc.DBAPIError) -> None:
    """Let pass what is wrong with an index (wrong type, not immutable); raise the rest."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if not state.startswith(("42", "22", "0A")):
        raise explain.Unexplainable(f"an index can't be tried: {first_line(error)}") from None


def _whole(table: Table) -> str:
    return f"{expressions.quoted(table.schema)}.{expressions.quoted(table.name)}"


_DEFINED = re.compile(
    r'^CREATE (UNIQUE )?INDEX .*? ON (?:ONLY )?(?:"(?:[^"]|"")+"|\w+)\.(?:"(?:[^"]|"")+"|\w+) USING'
)


def _moved(definition: str, table: str, name: str) -> str:
    """Rewrite an index's definition for the copy, which has a schema of its own."""
    return _DEFINED.sub(
        lambda found: f"CREATE {found[1] or ''}INDEX {name} ON pg_temp.{table} USING", definition
    )


def _local(statement: explain.Statement) -> explain.Statement:
    """Take the schema off a statement's tables, so that the copies are found."""
    raw = statement.text.encode()
    read = fingerprint.parsed(statement.text)
    assert read is not None
    tables = [fields for kind, fields in fingerprint.walk(read[1]) if kind == "RangeVar"]
    tables += [
        fields["relation"]
        for kind, fields in fingerprint.walk(read[1])
        if kind in {"UpdateStmt", "DeleteStmt", "InsertStmt"}
    ]
    for fields in sorted(tables, key=lambda each: -each.get("location", 0)):
        if fields.get("schemaname") and "location" in fields:
            place = fields["location"]
            rest = re.sub(rb'^(?:"(?:[^"]|"")+"|\w+)\s*\.\s*', b"", raw[place:])
            raw = raw[:place] + rest
    return explain.Statement(raw.decode(), statement.tree, statement.parameters)
