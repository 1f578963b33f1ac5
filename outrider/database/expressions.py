"""A parse tree's expressions as SQL again, for those that an index may be built on.

An index expression speaks of one table only and holds no parameter, sub-query or aggregate. What
is not written here can't be indexed by our advice, and raises :class:`Unindexable`. Whether a
function is immutable is not decided here: the server says so when an empty copy gets the index.
"""

from __future__ import annotations

import re
from typing import Any

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_INFIX = frozenset({"->", "->>", "#>", "#>>", "+", "-", "*", "/", "%", "||"})


class Unindexable(Exception):  # noqa: N818 - an answer, not a fault
    """No index can hold this expression."""


def quoted(name: str) -> str:
    """Quote a name, always: whether it is a keyword depends on the server's version."""
    return '"' + name.replace('"', '""') + '"'


def kind(node: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a node's type and fields.

    >>> kind({"ColumnRef": {"fields": []}})
    ('ColumnRef', {'fields': []})
    """
    return next(iter(node.items()), ("", {}))


def strings(nodes: list[dict[str, Any]]) -> list[str]:
    """Return the names in a list of String nodes."""
    return [node["String"]["sval"] for node in nodes if "String" in node]


def operator(fields: dict[str, Any]) -> str:
    """Return the operator of an A_Expr, without its schema."""
    return next(reversed(strings(fields.get("name", []))), "")


def sql(node: dict[str, Any]) -> str:
    """Write an expression with unqualified columns.

    Raises:
        Unindexable: it is of a kind that no index holds.
    """
    name, fields = kind(node)
    write = _WRITERS.get(name)
    if write is None:
        raise Unindexable(name)
    return write(fields)


def key(node: dict[str, Any]) -> str:
    """Write an expression as an index key: in brackets unless it is a column or a call."""
    text = sql(node)
    return text if kind(node)[0] in {"ColumnRef", "FuncCall"} else f"({text})"


def constant(fields: dict[str, Any]) -> str:
    """Write an A_Const."""
    if fields.get("isnull"):
        return "NULL"
    if "sval" in fields:
        return "'" + str(fields["sval"].get("sval", "")).replace("'", "''") + "'"
    if "boolval" in fields:
        return "true" if fields["boolval"].get("boolval") else "false"
    if "ival" in fields:
        return str(fields["ival"].get("ival", 0))
    if "fval" in fields:
        return str(fields["fval"]["fval"])
    raise Unindexable("constant")


def _column(fields: dict[str, Any]) -> str:
    names = strings(fields["fields"])
    if len(names) != len(fields["fields"]):
        raise Unindexable("*")
    return quoted(names[-1])


def _call(fields: dict[str, Any]) -> str:
    if set(fields) & {
        "agg_order",
        "agg_filter",
        "agg_star",
        "agg_distinct",
        "over",
        "func_variadic",
    }:
        raise Unindexable("aggregate")
    names = [name for name in strings(fields["funcname"]) if name != "pg_catalog"]
    if not fields.get("args"):
        raise Unindexable("call")
    called = ".".join(name if _PLAIN.match(name) else quoted(name) for name in names)
    return f"{called}({', '.join(map(sql, fields['args']))})"


def _infix(fields: dict[str, Any]) -> str:
    sign = operator(fields)
    if fields.get("kind") != "AEXPR_OP" or sign not in _INFIX or "lexpr" not in fields:
        raise Unindexable(sign)
    return f"{_inner(fields['lexpr'])} {sign} {_inner(fields['rexpr'])}"


def _inner(node: dict[str, Any]) -> str:
    text = sql(node)
    return text if kind(node)[0] in {"ColumnRef", "FuncCall", "A_Const"} else f"({text})"


def type_name(fields: dict[str, Any]) -> str:
    """Write a type's name."""
    names = [name for name in strings(fields["names"]) if name != "pg_catalog"]
    if fields.get("typmods") or not names:
        raise Unindexable("type")
    return ".".join(map(quoted, names)) + ("[]" if fields.get("arrayBounds") else "")


def _cast(fields: dict[str, Any]) -> str:
    return f"{_inner(fields['arg'])}::{type_name(fields['typeName'])}"


def _coalesce(fields: dict[str, Any]) -> str:
    return f"COALESCE({', '.join(map(sql, fields['args']))})"


_WRITERS = {
    "ColumnRef": _column,
    "A_Const": constant,
    "FuncCall": _call,
    "A_Expr": _infix,
    "TypeCast": _cast,
    "CoalesceExpr": _coalesce,
}
