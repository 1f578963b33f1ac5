"""PgHero's index suggestions, written after its source, as the peer.

``lib/pghero/methods/suggested_indexes.rb``: one table, conditions joined by AND only, the columns
of WHERE and then of ORDER BY, ranked by how few rows each keeps; tables below 500 rows are left
out; it stops at two columns or below 50 rows, and drops a second one that keeps over 30 %.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.database import access, catalog, explain, fingerprint

if TYPE_CHECKING:
    import sqlalchemy as sa

    from benchmarks.indexes.cases import Case

_LEAST_ROWS, _FEW, _KEEPS = 500, 50, 0.3
_NOT_HANDLED = {"JoinExpr", "SubLink", "RangeSubselect", "CommonTableExpr", "FuncCall"}


def claims(engine: sa.Engine, given: list[Case]) -> dict[str, list[str]]:
    """Return the indexes it would suggest for each case."""
    found = {}
    with engine.connect() as connection:
        for case in given:
            index = _suggested(connection, case.text)
            if index:
                found[case.name] = [index]
    return found


def _suggested(connection: sa.Connection, text: str) -> str | None:
    tree = explain.read(text).tree
    fields = next(iter(tree.values()))
    names = access.tables([tree])
    kinds = {kind for kind, _ in fingerprint.walk(fields.get("whereClause", {}))}
    whole = {kind for kind, _ in fingerprint.walk(tree)}
    if len(names) != 1 or whole & (_NOT_HANDLED - {"FuncCall"}) or "FuncCall" in kinds:
        return None
    if "or_expr" in str(fields.get("whereClause", "")).lower():
        return None
    name = names.pop()
    tables = catalog.read(connection, [name])
    if name not in tables or tables[name].rows < _LEAST_ROWS:
        return None
    table = tables[name]
    used = access.of([tree], {name: table.columns})
    where = [key for each in used for key in (*each.equal, *each.ranges)]
    orders = [key for each in used for order in each.orders for key, _ in order]
    wanted = [key.strip('"') for key in where or orders if key.strip('"') in table.columns]
    kept = {name: _kept(table, name) for name in dict.fromkeys(wanted)}
    ranked = sorted(kept, key=lambda each: kept[each])
    keys: list[str] = []
    rows = table.rows
    for each in ranked[:2]:
        if keys and (rows < _FEW or kept[each] > _KEEPS):
            break
        keys.append(each)
        rows *= kept[each]
    if not keys or any(list(index.keys[: len(keys)]) == keys for index in table.indexes):
        return None
    if kept[keys[0]] >= 1.0:
        return None
    columns = ", ".join(f'"{key}"' for key in keys)
    return f'CREATE INDEX CONCURRENTLY ON "{table.schema}"."{table.name}" ({columns});'


def _kept(table: catalog.Table, name: str) -> float:
    distinct = table.columns[name].distinct
    return 1 / distinct if distinct else 1.0
