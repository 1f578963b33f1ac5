"""A statement's plan, asked without running it; run only where that can change nothing.

Parameters have no values here. The server plans such a statement as it plans a prepared one that
is used often (its *generic plan*), with average selectivities. LIMIT and OFFSET, of which it would
guess a tenth of all rows, are taken as 100 and 0.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import fingerprint
from outrider.database.server import first_line
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 5.0
LIMIT, OFFSET = 100, 0
_PLANNED = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_NUMBERS = itertools.count()
_VOLATILE = sa.text(
    "SELECT proname FROM pg_proc WHERE proname = ANY(cast(:names AS text[])) AND provolatile = 'v'"
)


class Unexplainable(BadArgument):
    """This statement has no plan, or can't be planned without its values; the text says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that PostgreSQL's parser read: its text with ``$n`` and its parse tree."""

    text: str
    tree: dict[str, Any]
    parameters: int

    @property
    def reads(self) -> bool:
        """Tell whether it is a SELECT that locks nothing and writes nothing."""
        kinds = {kind for kind, _ in fingerprint.walk(self.tree)}
        return "SelectStmt" in self.tree and not kinds & {
            "LockingClause", "IntoClause", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"
        }  # fmt: skip


def read(text: str) -> Statement:
    """Read one statement.

    Raises:
        Unexplainable: it can't be parsed, is more than one, or is of a kind that has no plan.
    """
    found = fingerprint.parsed(text.strip().rstrip(";"))
    shown = " ".join(text.split())[:80]
    if found is None:
        raise Unexplainable(f"{shown!r} can't be parsed; give one whole PostgreSQL statement.")
    written, trees = found
    # Behind EXPLAIN a second statement would be run, not explained.
    if len(trees) != 1 or not _PLANNED & set(trees[0]):
        raise Unexplainable(
            f"{shown!r}: only one SELECT, INSERT, UPDATE, DELETE or MERGE has a plan."
        )
    return Statement(*_limited(written, trees[0]))


def plan(connection: sa.Connection, statement: Statement) -> dict[str, Any]:
    """Return the plan, without running the statement, in the caller's transaction.

    Raises:
        Unexplainable: the server can't plan it.
    """
    try:
        if not statement.parameters:
            return _planned(connection, f"EXPLAIN (FORMAT JSON) {statement.text}")
        name = f"outrider_explained_{next(_NUMBERS)}"
        run(connection, f"PREPARE {name} AS {statement.text}")
        try:
            run(connection, "SET plan_cache_mode = force_generic_plan")
            nothing = ", ".join(["NULL"] * statement.parameters)
            asked = f"EXPLAIN (FORMAT JSON) EXECUTE {name}({nothing})"
            return _planned(connection, asked)
        finally:
            # In a transaction that failed neither works, nor is it needed.
            with contextlib.suppress(sa.exc.DBAPIError):
                run(connection, f"DEALLOCATE {name}")
                run(connection, "RESET plan_cache_mode")
    except sa.exc.DBAPIError as error:
        raise Unexplainable(
            f"the server can't plan {statement.text[:80]!r}: {first_line(error)}"
        ) from None


def analysed(
    connection: sa.Connection, statement: Statement, *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Run a SELECT and return its plan with what it really did and took.

    Only in a READ ONLY transaction with a statement timeout, which is rolled back.
    ``connection`` is in autocommit.

    Raises:
        Unexplainable: it is no plain SELECT, calls a volatile function, has parameters without
            values, or took too long.
    """
    if not statement.reads:
        raise Unexplainable("only a SELECT that writes and locks nothing is run.")
    if statement.parameters:
        raise Unexplainable("its parameters have no values; give the statement with values.")
    calls = [
        fields["funcname"][-1]["String"]["sval"]
        for kind, fields in fingerprint.walk(statement.tree)
        if kind == "FuncCall"
    ]
    volatile = connection.execute(_VOLATILE, {"names": calls}).scalars().all()
    if volatile:
        raise Unexplainable(f"{', '.join(sorted(set(volatile)))}() is volatile; it is not run.")
    asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"
    try:
        with rolled_back(connection, read_only=True, timeout_s=timeout_s):
            return _planned(connection, asked)
    except sa.exc.DBAPIError as error:
        raise Unexplainable(
            f"{statement.text[:80]!r} was not run to its end: {first_line(error)}"
        ) from None


def _planned(connection: sa.Connection, asked: str) -> dict[str, Any]:
    plan: dict[str, Any] = run(connection, asked).scalar_one()[0]["Plan"]
    return plan


def run(connection: sa.Connection, text: str) -> sa.CursorResult[Any]:
    """Run text as it stands: a ``%`` or a colon in it is the statement's own."""
    return connection.execution_options(no_parameters=True).exec_driver_sql(text)


@contextlib.contextmanager
def rolled_back(
    connection: sa.Connection, *, read_only: bool = False, timeout_s: float = TIMEOUT_S
) -> Iterator[None]:
    """Hold a transaction that leaves nothing behind. ``connection`` is in autocommit."""
    run(connection, "BEGIN READ ONLY" if read_only else "BEGIN")
    try:
        run(connection, f"SET LOCAL statement_timeout = {round(timeout_s * 1000)}")
        yield
    finally:
        run(connection, "ROLLBACK")


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes, parents first."""
    yield tree
    for child in tree.get("Plans", ()):
        yield from nodes(child)


def _limited(text: str, tree: dict[str, Any]) -> tuple[str, dict[str, Any], int]:
    """Give LIMIT and OFFSET numbers, and number the other parameters anew."""
    fixed: dict[int, int] = {}
    for kind, fields in fingerprint.walk(tree):
        if kind == "SelectStmt":
            for part, value in (("limitCount", LIMIT), ("limitOffset", OFFSET)):
                for inner, reference in fingerprint.walk(fields.get(part)):
                    if inner == "ParamRef":
                        fixed[reference.get("location", 0)] = value
    places = {
        fields.get("location", 0): fields.get("number", 0)
        for kind, fields in fingerprint.walk(tree)
        if kind == "ParamRef"
    }
    numbers: dict[int, int] = {}
    raw, pieces, start = text.encode(), [], 0
    for place, number in sorted(places.items()):
        if place in fixed:
            written = str(fixed[place])
        else:
            written = f"${numbers.setdefault(number, len(numbers) + 1)}"
        end = place + len(re.match(rb"\$\d*|\?", raw[place:])[0])  # type: ignore[index]
        pieces += [raw[start:place], written.encode()]
        start = end
    pieces.append(raw[start:])
    return b"".join(pieces).decode(), tree, len(numbers)
