"""How a statement looks for rows: per table, what it compares, orders by and takes for granted.

One level of a statement (a SELECT, an UPDATE, a sub-query, an arm of a UNION) is one scope. Each
table in it gets an :class:`Access`: the expressions that an index on that table could look up.
A comparison with another table's column counts like one with a value, since a nested loop brings
that value along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outrider.database import expressions
from outrider.database.expressions import Unindexable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_FLIPPED = {"=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_WITHIN = frozenset({"@>", "&&", "@@", "?", "?|", "?&", "@?"})
_BETWEEN = frozenset({"AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"})
_LIKE, _ILIKE = "AEXPR_LIKE", "AEXPR_ILIKE"
# pg_trgm's unit: a pattern without three characters in a row finds nothing by it.
_TRIGRAM = 3


@dataclass(slots=True)
class Access:
    """What one use of a table asks. Keys are SQL, ready for CREATE INDEX.

    ``equal`` by key; ``given`` are conditions that hold for every row asked, as a partial index
    needs them; ``orders`` are lists of keys with their direction.
    """

    table: str
    alias: str
    equal: dict[str, None] = field(default_factory=dict)
    ranges: dict[str, None] = field(default_factory=dict)
    prefixes: dict[str, None] = field(default_factory=dict)
    within: dict[str, None] = field(default_factory=dict)
    similar: dict[str, None] = field(default_factory=dict)
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    orders: dict[tuple[tuple[str, str], ...], None] = field(default_factory=dict)
    one_of: bool = False


@dataclass(slots=True)
class _Scope:
    tables: dict[str, str]  # alias -> table as written
    columns: Mapping[str, Collection[str]]  # table as written -> its columns
    opaque: set[str]  # aliases of sub-queries and of WITH

    def owner(self, node: dict[str, Any]) -> str | None:
        """Return the alias that a ColumnRef belongs to; None when it is not one of ours."""
        names = expressions.strings(node["fields"])
        if len(names) >= 2:  # noqa: PLR2004 - alias.column
            return names[-2] if names[-2] in self.tables else None
        owners = [
            alias
            for alias, table in self.tables.items()
            if names and names[0] in self.columns.get(table, ())
        ]
        return owners[0] if len(owners) == 1 else None


def tables(trees: list[dict[str, Any]]) -> set[str]:
    """Return all names that a statement uses as tables, quoted as ``to_regclass`` wants them."""
    from outrider.database import fingerprint

    found = set()
    for kind, fields in fingerprint.walk(trees):
        if kind == "RangeVar":
            found.add(_name(fields))
        elif kind in {"UpdateStmt", "DeleteStmt", "InsertStmt"}:
            found.add(_name(fields["relation"]))
    return found


def of(trees: list[dict[str, Any]], columns: Mapping[str, Collection[str]]) -> list[Access]:
    """Return what a statement asks of its tables; ``columns`` are those of each table it names."""
    found: list[Access] = []
    for tree in trees:
        _levels(tree, columns, frozenset(), found)
    return [access for access in found if access.table in columns]


def _name(fields: dict[str, Any]) -> str:
    parts = [fields[part] for part in ("schemaname", "relname") if fields.get(part)]
    return ".".join(map(expressions.quoted, parts))


def _levels(
    tree: Any, columns: Mapping[str, Collection[str]], withs: frozenset[str], found: list[Access]
) -> None:
    """Look at every level below a tree; each sees the names of WITH that stand above it."""
    if isinstance(tree, list):
        for each in tree:
            _levels(each, columns, withs, found)
        return
    if not isinstance(tree, dict):
        return
    for name, fields in tree.items():
        if isinstance(fields, dict) and (clause := fields.get("withClause")):
            withs |= {cte["CommonTableExpr"]["ctename"] for cte in clause["ctes"]}
        if (
            name in {"SelectStmt", "larg", "rarg"}
            and isinstance(fields, dict)
            and ("targetList" in fields or "fromClause" in fields)
        ):
            _select(fields, columns, withs, found)
        elif name in {"UpdateStmt", "DeleteStmt"}:
            _change(fields, columns, withs, found)
        _levels(fields, columns, withs, found)


def _select(
    fields: dict[str, Any], columns: Any, withs: frozenset[str], found: list[Access]
) -> None:
    scope, conditions = _from(fields.get("fromClause", []), columns, withs)
    accesses = {alias: Access(table, alias) for alias, table in scope.tables.items()}
    found += accesses.values()
    _conditions([*conditions, *_where(fields)], scope, accesses)
    _orders(fields, scope, accesses)


def _change(
    fields: dict[str, Any], columns: Any, withs: frozenset[str], found: list[Access]
) -> None:
    sources = [{"RangeVar": fields["relation"]}]
    sources += fields.get("fromClause", []) + fields.get("usingClause", [])
    scope, conditions = _from(sources, columns, withs)
    accesses = {alias: Access(table, alias) for alias, table in scope.tables.items()}
    found += accesses.values()
    _conditions([*conditions, *_where(fields)], scope, accesses)


def _where(fields: dict[str, Any]) -> list[dict[str, Any]]:
    return [fields["whereClause"]] if "whereClause" in fields else []


def _from(
    sources: list[dict[str, Any]], columns: Any, withs: frozenset[str]
) -> tuple[_Scope, list[dict[str, Any]]]:
    scope, conditions = _Scope({}, columns, set()), []
    pending = list(sources)
    while pending:
        name, fields = expressions.kind(pending.pop(0))
        if name == "RangeVar":
            alias = fields.get("alias", {}).get("aliasname") or fields["relname"]
            if fields["relname"] in withs and not fields.get("schemaname"):
                scope.opaque.add(alias)
            else:
                scope.tables[alias] = _name(fields)
        elif name == "JoinExpr":
            pending += [fields["larg"], fields["rarg"]]
            if "quals" in fields:
                conditions.append(fields["quals"])
            # USING (a): each side's own column is compared with the other's.
            conditions += [
                {"Using": {"column": each}}
                for each in expressions.strings(fields.get("usingClause", []))
            ]
        elif name:
            scope.opaque.add(fields.get("alias", {}).get("aliasname", ""))
    return scope, conditions


def _conditions(nodes: list[dict[str, Any]], scope: _Scope, accesses: dict[str, Access]) -> None:
    for node in _all_of(nodes):
        name, fields = expressions.kind(node)
        if name == "Using":
            for alias, table in scope.tables.items():
                if fields["column"] in scope.columns.get(table, ()):
                    accesses[alias].equal[expressions.quoted(fields["column"])] = None
        elif name == "BoolExpr" and fields["boolop"] == "OR_EXPR":
            for arm in fields["args"]:
                _arm(arm, scope, accesses)
        elif name == "A_Expr":
            _comparison(fields, scope, accesses)
        elif name == "SubLink" and fields["subLinkType"] == "ANY_SUBLINK" and "testexpr" in fields:
            # ``key IN (SELECT ...)`` is a join.
            _look_up(fields["testexpr"], {}, "=", scope, accesses)
        _given(node, scope, accesses)


def _arm(arm: dict[str, Any], scope: _Scope, accesses: dict[str, Access]) -> None:
    """Note what one side of an OR looks up. Nothing in it holds for all rows."""
    kept = {alias: Access(each.table, alias) for alias, each in accesses.items()}
    _conditions([arm], scope, kept)
    for alias, seen in kept.items():
        into = accesses[alias]
        into.one_of = into.one_of or bool(seen.equal or seen.ranges)
        for name in ("equal", "ranges", "prefixes", "within", "similar"):
            getattr(into, name).update(getattr(seen, name))


def _all_of(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        name, fields = expressions.kind(node)
        if name == "BoolExpr" and fields["boolop"] == "AND_EXPR":
            yield from _all_of(fields["args"])
        else:
            yield node


def _comparison(fields: dict[str, Any], scope: _Scope, accesses: dict[str, Access]) -> None:
    how, sign = fields["kind"], expressions.operator(fields)
    left, right = fields.get("lexpr"), fields.get("rexpr")
    if left is None or right is None:
        return
    if how == "AEXPR_OP" and sign in _FLIPPED:
        _look_up(left, right, sign, scope, accesses)
        _look_up(right, left, _FLIPPED[sign], scope, accesses)
        _pairs(left, right, sign, scope, accesses)
    elif (how == "AEXPR_IN" and sign == "=") or (how == "AEXPR_OP_ANY" and sign == "="):
        _look_up(left, right, "=", scope, accesses)
        if how == "AEXPR_OP_ANY":  # value = ANY(column): an array's members
            _look_up(right, left, "@>", scope, accesses)
    elif how in _BETWEEN:
        _look_up(left, right, "<", scope, accesses)
    elif how == "AEXPR_OP" and sign in _WITHIN:
        _look_up(left, right, "@>", scope, accesses)
    elif how in {_LIKE, _ILIKE} and sign in {"~~", "~~*"}:
        _pattern(left, right, scope, accesses, any_case=how == _ILIKE)


def _pairs(left: Any, right: Any, sign: str, scope: _Scope, accesses: dict[str, Access]) -> None:
    """``(a, b) < (1, 2)``, as paging by key has it: an index in that order serves."""
    if "RowExpr" in left and "RowExpr" in right:
        for mine, theirs in zip(left["RowExpr"]["args"], right["RowExpr"]["args"], strict=False):
            _look_up(mine, theirs, sign, scope, accesses)


def _look_up(key: Any, value: Any, sign: str, scope: _Scope, accesses: dict[str, Access]) -> None:
    owners = _owners(key, scope)
    if len(owners) != 1 or None in owners or owners & _owners(value, scope):
        return
    access = accesses[str(next(iter(owners)))]
    try:
        text = expressions.key(key)
    except Unindexable:
        return
    into = access.equal if sign == "=" else access.within if sign == "@>" else access.ranges
    into[text] = None


def _pattern(
    key: Any, pattern: Any, scope: _Scope, accesses: dict[str, Access], *, any_case: bool
) -> None:
    owners = _owners(key, scope)
    if len(owners) != 1 or None in owners or "A_Const" not in pattern:
        return
    text = pattern["A_Const"].get("sval", {}).get("sval", "")
    fixed = min((text.find(sign) for sign in "%_" if sign in text), default=len(text))
    access = accesses[str(next(iter(owners)))]
    try:
        if fixed and not any_case:
            access.prefixes[expressions.key(key)] = None
        elif any(len(part) >= _TRIGRAM for part in text.replace("_", "%").split("%")):
            access.similar[expressions.key(key)] = None
    except Unindexable:
        return


def _given(node: dict[str, Any], scope: _Scope, accesses: dict[str, Access]) -> None:
    """Note a condition that a partial index may take for granted, and its key and value."""
    owners = _owners(node, scope)
    if len(owners) != 1 or None in owners:
        return
    try:
        condition = _condition(node)
    except Unindexable:
        return
    if condition is not None:
        text, key, value = condition
        accesses[str(next(iter(owners)))].given[text] = (key, value)


def _condition(node: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return (condition, key, what it says of the key) for those that the planner proves."""
    name, fields = expressions.kind(node)
    if name == "NullTest":
        said = "IS NULL" if fields["nulltesttype"] == "IS_NULL" else "IS NOT NULL"
        key = expressions.key(fields["arg"])
        return f"{key} {said}", key, said
    if name == "ColumnRef":
        key = expressions.sql(node)
        return key, key, "t"
    if name == "BooleanTest" and fields["booltesttype"] in {"IS_TRUE", "IS_FALSE"}:
        truth = fields["booltesttype"][3:]
        key = expressions.key(fields["arg"])
        return f"{key} IS {truth}", key, truth[:1].lower()
    if name == "BoolExpr" and fields["boolop"] == "NOT_EXPR" and "ColumnRef" in fields["args"][0]:
        key = expressions.sql(fields["args"][0])
        return f"NOT {key}", key, "f"
    if name == "A_Expr" and fields["kind"] == "AEXPR_OP" and "A_Const" in fields.get("rexpr", {}):
        sign = expressions.operator(fields)
        if sign in {"=", "<>"}:
            key = expressions.key(fields["lexpr"])
            written = expressions.sql(fields["rexpr"])
            value = written.strip("'").replace("''", "'")
            value = {"true": "t", "false": "f"}.get(value, value)
            return f"{key} {sign} {written}", key, value if sign == "=" else f"<>{value}"
    return None


def _orders(fields: dict[str, Any], scope: _Scope, accesses: dict[str, Access]) -> None:
    targets = [each["ResTarget"] for each in fields.get("targetList", [])]
    if fields.get("groupClause") or fields.get("op", "SETOP_NONE") != "SETOP_NONE":
        return
    _extremes(targets, scope, accesses)
    keys, owner = [], None
    for sort in (each["SortBy"] for each in fields.get("sortClause", [])):
        node = _sorted_by(sort["node"], targets)
        owners = _owners(node, scope)
        if len(owners) != 1 or None in owners or (owner and owner not in owners):
            return
        owner = str(next(iter(owners)))
        try:
            keys.append((expressions.key(node), _direction(sort)))
        except Unindexable:
            return
    if owner:
        accesses[owner].orders[tuple(keys)] = None


def _extremes(targets: list[dict[str, Any]], scope: _Scope, accesses: dict[str, Access]) -> None:
    """``min(x)`` and ``max(x)`` read one end of an index on x."""
    for target in targets:
        name, fields = expressions.kind(target.get("val", {}))
        if name == "FuncCall" and expressions.strings(fields["funcname"])[-1] in {"min", "max"}:
            key = fields["args"][0]
            owners = _owners(key, scope)
            if len(owners) == 1 and None not in owners:
                try:
                    accesses[str(next(iter(owners)))].orders[(expressions.key(key), ""),] = None
                except Unindexable:
                    continue


def _sorted_by(node: dict[str, Any], targets: list[dict[str, Any]]) -> dict[str, Any]:
    """Resolve ``ORDER BY 2`` and ``ORDER BY name_of_output``."""
    name, fields = expressions.kind(node)
    if name == "A_Const" and "ival" in fields:
        place = fields["ival"].get("ival", 0) - 1
        return targets[place].get("val", node) if 0 <= place < len(targets) else node
    if name == "ColumnRef" and len(fields["fields"]) == 1:
        wanted = expressions.strings(fields["fields"])
        return next((t["val"] for t in targets if [t.get("name")] == wanted and "val" in t), node)
    return node


def _direction(sort: dict[str, Any]) -> str:
    down = sort.get("sortby_dir") == "SORTBY_DESC"
    nulls = {"SORTBY_NULLS_FIRST": " NULLS FIRST", "SORTBY_NULLS_LAST": " NULLS LAST"}.get(
        sort.get("sortby_nulls", ""), ""
    )
    if nulls == (" NULLS FIRST" if down else " NULLS LAST"):
        nulls = ""
    return (" DESC" if down else "") + nulls


def _owners(node: Any, scope: _Scope) -> set[str | None]:
    """Return the aliases whose columns stand in an expression; None for what is not ours.

    A sub-query counts as a value: it is looked at as a level of its own.
    """
    found: set[str | None] = set()
    if isinstance(node, list):
        for each in node:
            found |= _owners(each, scope)
    elif isinstance(node, dict):
        for name, fields in node.items():
            if name == "ColumnRef":
                found.add(scope.owner(fields))
            elif name in {"ParamRef", "SubLink"}:
                continue
            else:
                found |= _owners(fields, scope)
    return found
