"""What a server knows of its tables: columns, sizes, statistics, indexes and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TABLES = sa.text("""
SELECT asked.name AS asked, c.oid, n.nspname AS schema, c.relname AS name,
  greatest(c.reltuples, 0)::float AS rows, pg_table_size(c.oid) AS bytes,
  coalesce(s.n_tup_ins + s.n_tup_del, 0) AS inserts,
  coalesce(s.n_tup_upd, 0) AS updates, coalesce(s.n_tup_hot_upd, 0) AS hot,
  extract(epoch FROM now() - coalesce(d.stats_reset, pg_postmaster_start_time()))::float AS over_s,
  has_table_privilege(c.oid, 'SELECT') AS readable
FROM unnest(cast(:names AS text[])) AS asked(name)
JOIN pg_class c ON c.oid = to_regclass(asked.name)
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
LEFT JOIN pg_stat_database d ON d.datname = current_database()
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
""")
_COLUMNS = sa.text("""
SELECT a.attrelid AS oid, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
  s.n_distinct, s.null_frac, s.most_common_vals::text::text[] AS common,
  s.most_common_freqs AS ratios
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stats s
  ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
  AND NOT s.inherited
WHERE a.attrelid = ANY(cast(:oids AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped
""")
_INDEXES = sa.text("""
SELECT i.indrelid AS oid, x.relname AS name, am.amname AS method, i.indisunique AS unique,
  i.indisprimary OR con.oid IS NOT NULL AS constrains, i.indisvalid AS valid,
  pg_relation_size(i.indexrelid) AS bytes, coalesce(s.idx_scan, 0) AS scans,
  pg_get_expr(i.indpred, i.indrelid, true) AS predicate,
  pg_get_indexdef(i.indexrelid) AS definition,
  array(SELECT pg_get_indexdef(i.indexrelid, k, true)
      || CASE WHEN i.indoption[k - 1] & 1 = 1 THEN ' DESC' ELSE '' END
      || CASE WHEN i.indoption[k - 1] & 3 = 1 THEN ' NULLS LAST'
              WHEN i.indoption[k - 1] & 3 = 2 THEN ' NULLS FIRST' ELSE '' END
      || CASE WHEN oc.opcdefault THEN '' ELSE ' ' || oc.opcname END
    FROM generate_series(1, i.indnkeyatts) AS k
    JOIN pg_opclass oc ON oc.oid = i.indclass[k - 1] ORDER BY k) AS keys,
  array(SELECT pg_get_indexdef(i.indexrelid, k, true)
    FROM generate_series(i.indnkeyatts + 1, i.indnatts) AS k ORDER BY k) AS included
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am am ON am.oid = x.relam
LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
WHERE i.indrelid = ANY(cast(:oids AS oid[])) ORDER BY x.relname
""")

# A bulk load just after a server's start is no rate.
_LEAST_OVER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``distinct`` is how many values it has, None when it was never analysed."""

    name: str
    type: str
    distinct: float | None = None
    null_ratio: float = 0.0
    common: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """An index that exists. ``keys`` in the server's own spelling, so that they compare."""

    name: str
    keys: tuple[str, ...]
    predicate: str | None = None
    method: str = "btree"
    unique: bool = False
    constrains: bool = False
    valid: bool = True
    bytes: int = 0
    scans: int = 0
    included: tuple[str, ...] = ()
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ``writes_per_s`` are those that a further index has to follow."""

    oid: int
    schema: str
    name: str
    rows: float
    bytes: int
    columns: Mapping[str, Column]
    indexes: tuple[Index, ...] = ()
    writes_per_s: float = 0.0
    readable: bool = True


def read(connection: sa.Connection, names: Iterable[str]) -> dict[str, Table]:
    """Return the tables behind names as a statement writes them; what is no table is left out."""
    found = connection.execute(_TABLES, {"names": sorted(set(names))}).mappings().all()
    oids = {"oids": sorted({row["oid"] for row in found})}
    columns: dict[int, dict[str, Column]] = {}
    rows = {row["oid"]: row["rows"] for row in found}
    for row in connection.execute(_COLUMNS, oids).mappings():
        columns.setdefault(row["oid"], {})[row["name"]] = Column(
            row["name"],
            row["type"],
            _distinct(row["n_distinct"], rows[row["oid"]]),
            row["null_frac"] or 0.0,
            dict(zip(row["common"] or (), row["ratios"] or (), strict=False)),
        )
    indexes = of_tables(connection, oids["oids"])
    return {
        row["asked"]: Table(
            row["oid"],
            row["schema"],
            row["name"],
            row["rows"],
            row["bytes"],
            columns.get(row["oid"], {}),
            tuple(indexes.get(row["oid"], ())),
            (row["inserts"] + row["updates"] - row["hot"]) / max(row["over_s"], _LEAST_OVER_S),
            row["readable"],
        )
        for row in found
    }


def of_tables(connection: sa.Connection, oids: Iterable[int]) -> dict[int, list[Index]]:
    """Return the indexes of each table, by the table's oid."""
    found: dict[int, list[Index]] = {}
    for row in connection.execute(_INDEXES, {"oids": list(oids)}).mappings():
        found.setdefault(row["oid"], []).append(
            Index(
                row["name"],
                tuple(row["keys"]),
                row["predicate"],
                row["method"],
                row["unique"],
                row["constrains"],
                row["valid"],
                row["bytes"],
                row["scans"],
                tuple(row["included"]),
                row["definition"],
            )
        )
    return found


def _distinct(n_distinct: float | None, rows: float) -> float | None:
    """Read pg_stats' figure: negative is a share of the rows."""
    if n_distinct is None:
        return None
    return -n_distinct * rows if n_distinct < 0 else n_distinct
