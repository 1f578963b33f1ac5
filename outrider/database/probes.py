"""Statements to try settings on, made from a database's largest tables and what the server knows.

Values come from the server's own statistics, so that a range holds one part in a hundred of a
table. Only tables that the role may read are used.
"""

# ruff: noqa: S608 - names and literals are quoted, and nothing comes from outside the server

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_ROWS = 1000
_MOST_TABLES = 3

_TABLES = sa.text("""
SELECT c.oid, c.oid::regclass::text AS name FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.reltuples >= :rows AND n.nspname NOT LIKE 'pg\\_%'
  AND n.nspname <> 'information_schema' AND has_table_privilege(c.oid, 'SELECT')
ORDER BY c.relpages DESC LIMIT :tables
""")
# Columns with a histogram of their values; "indexed" are those that lead an index.
_COLUMNS = sa.text("""
SELECT quote_ident(s.attname) AS name, format_type(a.atttypid, a.atttypmod) AS type,
  (s.histogram_bounds::text::text[])[40:41] AS range,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum)
    AS indexed
FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
WHERE c.oid = :table AND array_length(s.histogram_bounds::text::text[], 1) >= 41
ORDER BY indexed DESC, s.attname
""")
_JOINS = sa.text("""
SELECT conrelid::regclass::text AS child, confrelid::regclass::text AS parent,
  quote_ident(a.attname) AS column, quote_ident(b.attname) AS key
FROM pg_constraint
JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]
JOIN pg_attribute b ON b.attrelid = confrelid AND b.attnum = confkey[1]
WHERE contype = 'f' AND cardinality(conkey) = 1 AND conrelid = :table
  AND has_table_privilege(confrelid, 'SELECT') LIMIT 1
""")


def of_database(connection: sa.Connection) -> list[str]:
    """Return statements that read this database; none where no table has enough rows."""
    tables = connection.execute(_TABLES, {"rows": LEAST_ROWS, "tables": _MOST_TABLES}).all()
    return [sql for oid, name in tables for sql in _of_table(connection, oid, name)]


def _of_table(connection: sa.Connection, oid: int, table: str) -> Iterator[str]:
    columns = [row._mapping for row in connection.execute(_COLUMNS, {"table": oid})]  # noqa: SLF001 - a row's public mapping
    indexed = [column for column in columns if column["indexed"]]
    plain = [column for column in columns if not column["indexed"]]
    for column in indexed[:1]:
        first, last = (_literal(value, column["type"]) for value in column["range"])
        yield f"SELECT * FROM {table} WHERE {column['name']} = {first}"
        yield f"SELECT * FROM {table} WHERE {column['name']} BETWEEN {first} AND {last}"
    for column in (plain or indexed)[:1]:
        yield f"SELECT * FROM {table} ORDER BY {column['name']}"
        yield f"SELECT {column['name']}, count(*) FROM {table} GROUP BY 1"
    for join in connection.execute(_JOINS, {"table": oid}).mappings():
        yield (
            f"SELECT count(*) FROM {join['child']} c"
            f" JOIN {join['parent']} p ON c.{join['column']} = p.{join['key']}"
        )


def _literal(value: Any, type_: str) -> str:
    quoted = str(value).replace("'", "''")
    # A backslash is one only without standard_conforming_strings, which no server lacks by default.
    return f"'{quoted}'::{type_}"
