"""What a statement asks of its tables, and the indexes that could serve it."""

from __future__ import annotations

import pytest

from outrider.database import access, candidates, explain
from outrider.database.catalog import Column, Index, Table

COLUMNS = {
    "id": Column("id", "bigint", 10_000),
    "user": Column("user", "integer", 500),
    "pair": Column("pair", "text", 40),
    "state": Column("state", "text", 3, 0.0, {"done": 0.95, "failed": 0.04}),
    "gone": Column("gone", "timestamp", 10, 0.99),
    "doc": Column("doc", "jsonb", 5000),
    "at": Column("at", "timestamp", 9000),
    "live": Column("live", "boolean", 2, 0.0, {"t": 0.02, "f": 0.98}),
}
TABLE = Table(1, "public", "t", 10_000, 1 << 20, COLUMNS, (Index("t_pkey", ("id",), unique=True),))


def tried(text: str, table: Table = TABLE) -> set[tuple[tuple[str, ...], str | None]]:
    tree = explain.read(text).tree
    names = access.tables([tree])
    return {
        (candidate.keys, candidate.where)
        for each in access.of([tree], dict.fromkeys(names, COLUMNS))
        for candidate in candidates.of(each, table, c_collation=True)
    }


@pytest.mark.parametrize(
    ("text", "keys", "where"),
    [
        ("SELECT * FROM t WHERE pair = $1", ('"pair"',), None),
        ("SELECT * FROM t WHERE $1 = pair", ('"pair"',), None),
        ('SELECT * FROM t WHERE pair = $1 AND "user" = $2', ('"user"', '"pair"'), None),
        ("SELECT * FROM t WHERE pair = $1 ORDER BY at DESC LIMIT 5", ('"pair"', '"at"'), None),
        ("SELECT * FROM t x ORDER BY x.pair DESC, x.at", ('"pair" DESC', '"at"'), None),
        ("SELECT * FROM t WHERE lower(pair) = $1", ('lower("pair")',), None),
        ("SELECT * FROM t WHERE doc->>'k' = $1", ("(\"doc\" ->> 'k')",), None),
        (
            "SELECT * FROM t WHERE (doc->'a'->>'b')::int = 5",
            ("(((\"doc\" -> 'a') ->> 'b')::\"int4\")",), None,
        ),
        ("SELECT * FROM t WHERE gone IS NULL AND pair LIKE 'ab%'", ('"pair"',), None),
        ("SELECT * FROM t WHERE state = 'failed' ORDER BY at", ('"at"',), "\"state\" = 'failed'"),
        ("SELECT * FROM t WHERE gone IS NOT NULL", ('"gone"',), '"gone" IS NOT NULL'),
        ("SELECT * FROM t WHERE live AND pair = $1", ('"pair"',), '"live"'),
        ("SELECT max(at) FROM t", ('"at"',), None),
        ("UPDATE t SET pair = 'x' WHERE at < $1", ('"at"',), None),
        ("DELETE FROM t WHERE pair IN ('a', 'b')", ('"pair"',), None),
        ('SELECT * FROM o JOIN t ON t."user" = o.n', ('"user"',), None),
        ("SELECT * FROM o JOIN t USING (pair)", ('"pair"',), None),
        ("SELECT * FROM o WHERE EXISTS (SELECT 1 FROM t WHERE t.pair = o.x)", ('"pair"',), None),
        ("SELECT * FROM t WHERE pair IN (SELECT x FROM o)", ('"pair"',), None),
        ("WITH w AS (SELECT * FROM t WHERE at > $1) SELECT * FROM w", ('"at"',), None),
        ("SELECT 1 UNION SELECT id FROM t WHERE pair = 'x'", ('"pair"',), None),
        (
            "SELECT * FROM t WHERE (at, id) > ($1, $2) ORDER BY at, id LIMIT 9",
            ('"at"', '"id"'), None,
        ),
    ],
)  # fmt: skip
def test_what_could_serve_is_tried(text: str, keys: tuple[str, ...], where: str | None) -> None:
    assert (keys, where) in tried(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM t",
        "SELECT * FROM t WHERE id = 5",  # the primary key serves
        "SELECT * FROM t WHERE pair LIKE '%x'",
        "SELECT * FROM t WHERE pair <> 'x'",
        "SELECT * FROM t WHERE random() < 0.5",
        "SELECT * FROM t WHERE pair = state",  # one row's own columns
        "WITH t AS (SELECT 1 AS pair) SELECT * FROM t WHERE pair = 1",  # not the table
        "SELECT sum(id) FROM t GROUP BY pair ORDER BY pair",
        "SELECT * FROM t WHERE state = 'done'",
    ],
)
def test_what_no_index_can_serve_is_not_tried(text: str) -> None:
    assert {keys for keys, _ in tried(text)} <= {('"state"',)}
    assert not {where for _, where in tried(text)} - {None}


def test_a_small_table_needs_none() -> None:
    small = Table(1, "public", "t", 200, 8192, COLUMNS)
    assert tried("SELECT * FROM t WHERE pair = $1", small) == set()


def test_names_are_quoted_in_ddl() -> None:
    index = candidates.Candidate("my schema", 'odd"name', ('"order"',))
    assert (
        index.ddl(concurrently=True)
        == 'CREATE INDEX CONCURRENTLY ON "my schema"."odd""name" ("order")'
    )
