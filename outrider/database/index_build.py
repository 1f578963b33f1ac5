"""A proposed index built for real, on somebody's word, and dropped again if it did not help.

``CREATE INDEX CONCURRENTLY`` blocks no writes. If it fails half way the server leaves an invalid
index; it is dropped here. What is judged after the build is the plan of each statement the index
was proposed for, and its time where it can be run.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from outrider.database import explain, expressions
from outrider.database.index_advice import LEAST_GAIN
from outrider.database.server import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.database.index_advice import Proposal

# Waiting for old transactions to end is the longest part of it.
BUILD_TIMEOUT_S = 3600.0
LOCK_TIMEOUT_S = 10.0
_EXISTS = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


@dataclass(frozen=True, slots=True)
class Built:
    """How it ended: ``kept`` with the measured gain, or dropped, with the reason."""

    name: str
    kept: bool
    reason: str
    quicker: float | None = None


def build(engine: sa.Engine, proposal: Proposal, *, statements: Sequence[str] = ()) -> Built:
    """Create the index, measure, and drop it if no statement became twice as cheap. Blocks long.

    ``statements`` with values are run before and after (SELECT only); without them the plans of
    the proposal's own statements are compared.
    """
    name = named(proposal)
    texts = list(statements) or [gain.text for gain in proposal.gains]
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        asked = [explain.read(text) for text in texts]
        if connection.execute(
            _EXISTS, {"name": f"{_schema(proposal)}.{expressions.quoted(name)}"}
        ).scalar():
            return Built(name, kept=True, reason="it is there already.")
        before = [_price(connection, each) for each in asked]
        try:
            explain.run(connection, f"SET statement_timeout = {round(BUILD_TIMEOUT_S * 1000)}")
            explain.run(connection, f"SET lock_timeout = {round(LOCK_TIMEOUT_S * 1000)}")
            explain.run(connection, proposal.index.ddl(name, concurrently=True))
            explain.run(connection, f"ANALYZE {_table(proposal)}")
        except sa.exc.DBAPIError as error:
            _drop(connection, proposal, name)
            return Built(name, kept=False, reason=f"it could not be built: {first_line(error)}")
        after = [_price(connection, each) for each in asked]
        quicker = max(map(_ratio, before, after), default=0.0)
        if quicker >= LEAST_GAIN:
            return Built(name, kept=True, reason="it helps.", quicker=quicker)
        _drop(connection, proposal, name)
        return Built(
            name, kept=False, reason="no statement became twice as quick.", quicker=quicker
        )


def named(proposal: Proposal) -> str:
    """Return the name that the index gets: the same for the same index."""
    digest = hashlib.blake2s(proposal.index.ddl().encode(), digest_size=4).hexdigest()
    return f"{proposal.index.table[:40]}_outrider_{digest}"


def _price(connection: sa.Connection, statement: explain.Statement) -> tuple[float, float | None]:
    """Return planned cost, and milliseconds where the statement can be run."""
    cost = float(explain.plan(connection, statement)["Total Cost"])
    with contextlib.suppress(explain.Unexplainable):
        plans = [explain.analysed(connection, statement) for _ in range(3)]
        return cost, min(plan["Actual Total Time"] for plan in plans)
    return cost, None


def _ratio(before: tuple[float, float | None], after: tuple[float, float | None]) -> float:
    if before[1] is not None and after[1] is not None:
        return before[1] / max(after[1], 1e-3)
    return before[0] / max(after[0], 1e-3)


def _drop(connection: sa.Connection, proposal: Proposal, name: str) -> None:
    where = f"{_schema(proposal)}.{expressions.quoted(name)}"
    explain.run(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {where}")


def _schema(proposal: Proposal) -> str:
    return expressions.quoted(proposal.index.schema)


def _table(proposal: Proposal) -> str:
    return f"{_schema(proposal)}.{expressions.quoted(proposal.index.table)}"
