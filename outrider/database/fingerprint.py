"""One name for all statements of one shape, so that their costs can be added up.

PostgreSQL's own parser (libpg_query, by ``pgparse``) decides what is the same: constants, spaces,
letter case and the length of an IN list make no difference, and neither does the driver's way of
writing a parameter. What it can't read, of another dialect or cut off, falls back to a pattern.

``text`` may leave the process, so what a bot pasted into its SQL is taken out. Kept are the
constants that are part of the shape and that an index would need: the keys of JSON documents,
numbers of LIMIT, truth values.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# A multi-row INSERT may be megabytes long; its shape shows in the beginning.
LONGEST = 65_536
KNOWN = 4096
_JSON_KEY = frozenset({"->", "->>", "#>", "#>>", "?"})
_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$"""
_PLACEHOLDER = re.compile(
    rf"(?P<kept>{_QUOTED}|--[^\n]*|/\*.*?\*/|::)|%(?:\((?P<percent>\w+)\))?s|%%|:(?P<colon>[A-Za-z_]\w*)",
    re.DOTALL,
)
_NEXT_LINE = r"(?:\s*\n\s*'(?:[^']|'')*')*"  # a string may go on below
_STRING = rf"[Ee]'(?:[^'\\]|''|\\.)*'{_NEXT_LINE}|(?:[BbXxNn]|[Uu]&)?(?:{_QUOTED}){_NEXT_LINE}"
_LITERAL = re.compile(
    rf"{_STRING}|[+-]?(?:0[xXoObB]\w+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)",
    re.DOTALL | re.ASCII,
)
_REMARK = re.compile(
    rf"(?P<line>--[^\n]*)|(?P<block>/\*)|(?P<string>{_STRING})", re.DOTALL | re.ASCII
)
_BORDER = re.compile(r"/\*|\*/")
_OTHER_DIALECT = re.compile(
    r"--[^\n]*|/\*.*?(?:\*/|\Z)|(?P<name>\"\w+\"(?!\w))"
    r"|(?P<value>'(?:[^'\\]|''|\\.)*(?:'|\Z)|\"(?:[^\"]|\"\")*(?:\"|\Z)|\$(?P<tag>[A-Za-z_]*)\$.*?(?:\$(?P=tag)\$|\Z)"
    r"|\b\d[\w.]*\b|\?|[%:@$]\(?\w+\)?s?)|\s+",
    re.DOTALL,
)
_LIST = re.compile(r"\( *\?(?: *, *\?)* *\)(?: *, *\( *\?(?: *, *\?)* *\))*")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A shape: ``id`` is the same for all statements of it; ``text`` shows one, without values."""

    id: str
    text: str


@functools.lru_cache(maxsize=KNOWN)
def of(statement: str) -> Fingerprint:
    """Return the shape of a statement. About 200 µs when first seen, a look-up afterwards.

    >>> of("SELECT * FROM t WHERE id IN (1, 2)").id == of("select *  from t where id in (%s)").id
    True
    >>> of("SELECT doc->>'lang' FROM t WHERE name = 'Ann' LIMIT 5").text
    "SELECT doc->>'lang' FROM t WHERE name = $1 LIMIT 5"
    """
    if len(statement) <= LONGEST:
        found = _by_parser(statement)
        if found is not None:
            return found
    return _by_pattern(statement[:LONGEST])


def numbered(statement: str) -> str:
    """Write a driver's parameters (``%s``, ``%(name)s``, ``:name``) as PostgreSQL's ``$1``.

    >>> numbered("SELECT ':x' FROM t WHERE a = %(b)s::int AND c = %(b)s AND d = :e")
    "SELECT ':x' FROM t WHERE a = $1::int AND c = $1 AND d = $2"
    """
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        if match["kept"] or match[0] == "%%":
            return match["kept"] or "%"
        name = match["percent"] or match["colon"] or f"%{len(names)}"
        return f"${names.setdefault(name, len(names) + 1)}"

    return _PLACEHOLDER.sub(number, statement)


def parsed(statement: str) -> tuple[str, list[dict[str, Any]]] | None:
    """Return the text as PostgreSQL reads it and its trees; None where its parser can't."""
    try:
        import pgparse
    except ImportError:  # pragma: no cover - the extra `postgresql` brings it
        return None
    # As it stands first: ``a[1:n]`` and ``%`` are PostgreSQL's own.
    for text in (statement, numbered(statement)):
        try:
            trees = pgparse.parse(text)
        except pgparse.PGQueryError:
            continue
        return text, [each["stmt"] for each in trees]
    return None


def split(text: str) -> list[str] | None:
    """Return the statements of a text; None where it can't be parsed.

    >>> split("SELECT ';'; SELECT 2")
    ["SELECT ';'", 'SELECT 2']
    """
    import pgparse

    for written in (text, numbered(text)):
        try:
            trees = pgparse.parse(written)
        except pgparse.PGQueryError:
            continue
        raw = written.encode()
        places = [(each.get("stmt_location", 0), each.get("stmt_len", 0)) for each in trees]
        return [
            raw[start : start + length if length else len(raw)].decode().strip()
            for start, length in places
        ]
    return None


def walk(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each node of a tree as (kind, fields), parents first."""
    if isinstance(tree, dict):
        for kind, fields in tree.items():
            if isinstance(fields, dict) and kind[:1].isupper():
                yield kind, fields
            yield from walk(fields)
    elif isinstance(tree, list):
        for each in tree:
            yield from walk(each)


def _by_parser(statement: str) -> Fingerprint | None:
    read = parsed(statement)
    if read is None or not read[1]:
        return None
    import pgparse

    text, trees = read
    return Fingerprint(pgparse.fingerprint(text), _without_values(text, trees))


def _without_values(text: str, trees: list[dict[str, Any]]) -> str:
    raw = text.encode().decode("latin-1")  # the parser counts bytes, so here is one letter a byte
    constants, kept, last = _constants(trees)
    edits: list[tuple[int, int, str]] = []
    for place in constants:
        literal = _LITERAL.match(raw, place)
        if literal is not None and (not edits or place >= edits[-1][1]):
            last += 1
            edits.append((place, literal.end(), f"${last}"))
    edits += _remarks(raw, kept | {place for place, _, _ in edits})
    pieces, start = [], 0
    for begin, end, instead in sorted(edits):
        if begin >= start:
            pieces += [raw[start:begin], instead]
            start = end
    pieces.append(raw[start:])
    written = "".join(pieces).encode("latin-1").decode(errors="replace")
    return " ".join(written.split())


def _constants(trees: list[dict[str, Any]]) -> tuple[list[int], set[int], int]:
    """Return where constants stand that go, which stay, and the last parameter's number."""
    kept, constants, last = set(), set(), 0
    for kind, fields in walk(trees):
        if kind == "A_Const":
            if "boolval" not in fields and not fields.get("isnull"):
                constants.add(fields.get("location", 0))
        elif kind == "ParamRef":
            last = max(last, fields.get("number", 0))
        elif kind == "A_Expr" and fields["name"][-1]["String"]["sval"] in _JSON_KEY:
            kept |= _places(fields.get("rexpr"))
        elif kind == "SelectStmt":
            kept |= _places(fields.get("limitCount")) | _places(fields.get("limitOffset"))
    return sorted(constants - kept), kept, last


def _remarks(raw: str, known: set[int]) -> list[tuple[int, int, str]]:
    """Return what else goes: comments, and strings that are no constants, such as a password."""
    edits, place = [], 0
    while found := _REMARK.search(raw, place):
        begin, place = found.start(), found.end()
        if found["block"]:
            depth = 1
            while depth and (border := _BORDER.search(raw, place)):
                depth += 1 if border[0] == "/*" else -1
                place = border.end()
            place = len(raw) if depth else place
            edits.append((begin, place, " "))
        elif found["line"]:
            edits.append((begin, place, " "))
        elif begin not in known and not found[0].startswith('"'):
            edits.append((begin, place, "?"))
    return edits


def _places(tree: Any) -> set[int]:
    return {fields.get("location", 0) for kind, fields in walk(tree) if kind == "A_Const"}


def _by_pattern(statement: str) -> Fingerprint:
    text = _OTHER_DIALECT.sub(
        lambda match: match["name"] or ("?" if match["value"] else " "), statement
    )
    text = " ".join(_LIST.sub("(?)", text).split())
    digest = hashlib.blake2s(text.lower().encode(), digest_size=8).hexdigest()
    return Fingerprint(f"~{digest}", text)
