"""The statements that cost a server most, from pg_stat_statements where it is installed.

The server's sums run since its last reset. They know no percentiles, and not which bot asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from outrider.database import fingerprint
from outrider.database.server import first_line

MOST = 10
LONGEST_TEXT = 500
INSTALL = (
    "set shared_preload_libraries = 'pg_stat_statements', restart the server,"
    " and run CREATE EXTENSION pg_stat_statements"
)
_NO_PERMISSION = "42501"
_SCHEMA = sa.text("""
SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'pg_stat_statements'
""")


@dataclass(frozen=True, slots=True)
class Statement:
    """One shape of statement: its text with constants taken out, and what it cost so far."""

    text: str
    calls: int
    mean_s: float
    total_s: float
    rows: int

    @property
    def fingerprint_id(self) -> str:
        """Return the id under which bots report the same statement."""
        return fingerprint.of(self.text).id

    @property
    def p99_s(self) -> None:
        """Return None: the server keeps sums only."""
        return

    @property
    def errors(self) -> int:
        """Return 0: the server counts only what succeeded."""
        return 0


@dataclass(frozen=True, slots=True)
class Slowest:
    """Statements of this database by total time; ``note`` says why there are none, and the cure."""

    statements: tuple[Statement, ...] = ()
    note: str = ""


def slowest(engine: sa.Engine, *, most: int = MOST, longest: int | None = LONGEST_TEXT) -> Slowest:
    """Return the dearest statements. Without the extension the note tells how to get it.

    Texts are cut at ``longest`` characters; None keeps them whole, for what parses them.
    """
    schema = None
    try:
        with engine.connect() as connection:
            schema = connection.execute(_SCHEMA).scalar()
            if schema is None:
                return Slowest(note=f"pg_stat_statements is not installed; {INSTALL}.")
            found = connection.execute(_query(schema), {"most": most}).all()
    except sa.exc.SQLAlchemyError as error:
        remedy = INSTALL
        if getattr(getattr(error, "orig", None), "sqlstate", None) == _NO_PERMISSION:
            remedy = f"GRANT USAGE ON SCHEMA {schema} and GRANT pg_read_all_stats to this role"
        return Slowest(note=f"pg_stat_statements can't be read ({first_line(error)}); {remedy}.")
    statements = tuple(
        Statement(" ".join(text.split())[:longest], calls, mean_s, total_s, rows)
        for text, calls, mean_s, total_s, rows in found
    )
    if any(statement.text == "<insufficient privilege>" for statement in statements):
        return Slowest(
            statements, "other roles' texts are hidden; GRANT pg_read_all_stats TO this role."
        )
    return Slowest(statements)


def _query(schema: str) -> sa.TextClause:
    # The schema is the server's own word, quoted by it; total_exec_time is PostgreSQL 13's name.
    return sa.text(f"""
    SELECT query, calls, mean_exec_time / 1000, total_exec_time / 1000, rows
    FROM {schema}.pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY total_exec_time DESC LIMIT :most
    """)  # noqa: S608
