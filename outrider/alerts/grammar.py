"""The language of rules, read with a parser (lark, LALR); nothing is ever evaluated as Python.

Chosen over PromQL: series here have dotted names, a rule is one host's, and people who write one a
year should be able to guess it. ``*`` belongs to names, so that multiplication needs spaces.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import lark

from outrider import units
from outrider.alerts import selectors
from outrider.alerts.expression import (
    Absent,
    Aggregate,
    AtLeast,
    Binary,
    Node,
    Number,
    Signal,
    Unary,
    Value,
    Windowed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

GRAMMAR = r"""
start: _condition clause*
_condition: or
?or: and | or OR and -> binary
?and: not | and AND not -> binary
?not: compare | NOT not -> unary
?compare: sum | sum COMPARE sum -> binary
?sum: product | sum (PLUS | MINUS) product -> binary
?product: unary | product (TIMES | DIVIDE) unary -> binary
?unary: atom | MINUS unary -> unary
?atom: NUMBER -> number
     | (SERIES | QUOTED) -> value
     | WINDOWED "(" (ANY_SERIES | QUOTED) "," NUMBER ")" -> windowed
     | AGGREGATE "(" or ["," NUMBER] ")" -> aggregate
     | SIGNAL "(" (SERIES | QUOTED) ")" -> signal
     | ABSENT "(" (SERIES | QUOTED) ")" -> absent
     | ABS "(" or ")" -> unary
     | (NUMBER | QUANTITY) OF "(" or ("," or)* ")" -> at_least
     | "(" or ")"
clause: FOR NUMBER | KEEP NUMBER | CLEAR or | WHERE matcher ("," matcher)*
matcher: LABEL MATCH (GLOB | QUOTED)

OR.2: /or(?=[\s(])/
AND.2: /and(?=[\s(])/
NOT.2: /not(?=[\s(])/
FOR.2: /for(?=\s)/
KEEP.2: /keep_firing_for(?=\s)/
CLEAR.2: /clear(?=[\s(])/
WHERE.2: /where(?=\s)/
OF.2: /of(?=[\s(])/
QUANTITY.2: /(any|all)(?=\s+of[\s(])/
WINDOWED.2: /(increase|rate|delta|changes|stddev|p50|p90|p95|p99)(?=\s*\()/
AGGREGATE.2: /(avg|min|max|sum|count)(?=\s*\()/
SIGNAL.2: /(anomaly|time_to_limit)(?=\s*\()/
ABSENT.2: /absent(?=\s*\()/
ABS.2: /abs(?=\s*\()/
NUMBER: /[0-9]+(\.[0-9]+)?(%|[kKMGT]i?B|ms|s|m|h|d)?(?![\w.%])/
COMPARE: /[<>]=?|==|!=/
PLUS: "+"
MINUS: "-"
TIMES: "*"
DIVIDE: "/"
SERIES: /[A-Za-z][\w.*{}:\/-]*/
ANY_SERIES: /[A-Za-z][\w.*<>{}:\/-]*/
QUOTED: /"[^"]+"/
LABEL: /[A-Za-z_]\w*/
MATCH: /!?=/
GLOB: /[\w.*?:\/-]+/
%ignore /\s+/
"""
# Conditions are walked by recursion, which has an end.
MOST_NODES = 150
_CLAUSES = {"FOR": "for", "KEEP": "keep_firing_for", "CLEAR": "clear", "WHERE": "where"}
# What could have stood in the place of a mistake, by the first of these that could.
_EXPECTED = (
    ("ANY_SERIES", "a series such as bot.*.updates_total"),
    ("AGGREGATE", "a series such as host.cpu.used_ratio, a number such as 0.9, 90%, 300MiB or 30s, or a function such as increase(series, 5m)"),
    ("SERIES", "a series such as host.cpu.used_ratio"),
    ("LABEL", "a label and what it is, such as bot = canary*"),
    ("MATCH", "= or !="),
    ("GLOB", "a value such as canary*"),
    ("COMPARE", "a comparison: >, >=, <, <=, == or !=, `and`, `or`, or `for DURATION`, `keep_firing_for DURATION`, `clear NUMBER`, `where LABEL = VALUE` or the end"),
    ("FOR", "`and`, `or`, `for DURATION`, `keep_firing_for DURATION`, `clear NUMBER`, `where LABEL = VALUE` or the end"),
    ("NUMBER", "a number or a duration such as 30s or 5m"),
    ("OF", "of (...)"),
    ("COMMA", "a comma and a window such as 5m"),
    ("LPAR", "an opening bracket"),
    ("RPAR", "a closing bracket"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong at a column (from 0), and what was expected."""

    at: int
    expected: str
    found: str = ""


@dataclass(frozen=True, slots=True)
class Matcher:
    """``where`` a label is, or is not, like a pattern."""

    label: str
    wanted: bool
    glob: str
    at: int


@dataclass(slots=True)
class Written:
    """A text as it was read. Clauses are by name, with their column."""

    condition: Node
    durations: dict[str, float] = field(default_factory=dict)
    clear: Node | None = None
    where: tuple[Matcher, ...] = ()
    columns: dict[str, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def read(text: str) -> Written | Mistake:
    """Return what a text says, with the mistakes in it that do not hide its structure."""
    try:
        tree = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as error:
        return _unexpected(text, error)
    if sum(1 for _ in tree.iter_subtrees()) > MOST_NODES:
        return Mistake(0, f"at most {MOST_NODES} parts; split it into several rules", "more")
    return _Reader().start(tree)


@functools.cache
def _parser() -> lark.Lark:
    return lark.Lark(GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def _unexpected(text: str, error: lark.exceptions.UnexpectedInput) -> Mistake:
    at = error.pos_in_stream
    if isinstance(error, lark.exceptions.UnexpectedToken):
        could = set(error.accepts or error.expected)
        if error.token.type == "$END":
            at = len(text.rstrip())
    else:
        could = set(getattr(error, "allowed", None) or ())
    at = len(text.rstrip()) if at is None or at < 0 else at
    expected = next((words for name, words in _EXPECTED if name in could), "something else")
    return Mistake(at, expected, text[at:].strip())


class _Reader:
    """Makes nodes of a syntax tree."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def start(self, tree: lark.Tree[Any]) -> Written:
        condition, *clauses = tree.children
        written = Written(self.node(condition), mistakes=self.mistakes)
        for clause in clauses:
            first = cast("lark.Token", clause.children[0])
            name = _CLAUSES[first.type]
            if name in written.columns:
                self.wrong(first, f"`{name}` once")
            written.columns[name] = _at(first)
            if name == "clear":
                written.clear = self.node(clause.children[1])
            elif name == "where":
                written.where = tuple(_matcher(each) for each in clause.children[1:])
            else:
                written.durations[name] = self.duration(cast("lark.Token", clause.children[1]))
        return written

    def node(self, tree: Any) -> Node:
        kind: Callable[..., Node] = getattr(self, f"_{tree.data}")
        return kind(tree.meta.start_pos, *tree.children)

    def wrong(self, token: lark.Token, expected: str) -> None:
        self.mistakes.append(Mistake(_at(token), expected, str(token)))

    def _number(self, at: int, token: lark.Token) -> Node:
        return Number(self.number(token), at)

    def _value(self, at: int, token: lark.Token) -> Node:
        return Value(self.selector(token), at)

    def _windowed(self, at: int, name: lark.Token, of: lark.Token, window: lark.Token) -> Node:
        return Windowed(cast("Any", str(name)), self.selector(of), self.window(window), at)

    def _aggregate(self, at: int, name: lark.Token, of: Any, window: lark.Token | None) -> Node:
        inner, function = self.node(of), cast("Any", str(name))
        if window is None:
            return Aggregate(function, inner, at)
        if not isinstance(inner, Value):
            self.mistakes.append(
                Mistake(inner.at, f"one series, since {function} looks back over a window")
            )
            return inner
        return Windowed(function, inner.selector, self.window(window), at)

    def _signal(self, at: int, name: lark.Token, of: lark.Token) -> Node:
        return Signal(cast("Any", str(name)), self.selector(of), at)

    def _absent(self, at: int, _: lark.Token, of: lark.Token) -> Node:
        return Absent(self.selector(of), at)

    def _unary(self, at: int, op: lark.Token, of: Any) -> Node:
        return Unary(cast("Any", str(op)), self.node(of), at)

    def _binary(self, at: int, left: Any, op: lark.Token, right: Any) -> Node:
        del at
        return Binary(str(op), self.node(left), self.node(right), _at(op))

    def _at_least(self, at: int, least: lark.Token, _: lark.Token, *parts: Any) -> Node:
        number = {"any": 1.0, "all": 1.0}.get(str(least)) or self.number(least)
        share = str(least) == "all" or str(least).endswith("%")
        whole = least.type != "NUMBER" or str(least).removesuffix("%").replace(".", "").isdigit()
        nodes = tuple(self.node(part) for part in parts)
        most = 1.0 if share else float(len(nodes)) if len(nodes) > 1 else math.inf
        if not whole or number > most or number <= 0 or (not share and number != int(number)):
            what = f"1 to {most:g}" if math.isfinite(most) else "1 or more"
            self.wrong(least, "a share such as 50%" if share else f"a whole number, {what}")
        return AtLeast(number, share, nodes, at)

    def selector(self, token: lark.Token) -> selectors.Selector:
        found = selectors.parse(str(token).strip('"'))
        if found.stars > selectors.MOST_STARS:
            self.wrong(token, f"a series with at most {selectors.MOST_STARS} stars")
        return found

    def number(self, token: lark.Token) -> float:
        digits = str(token).rstrip("%kKMGTiBmshd")
        value, unit = float(digits), str(token)[len(digits) :]
        if unit == "%":
            value /= 100
        elif unit.endswith("B"):
            value *= units.parse_bytes(f"1{unit}")
        elif unit:
            value *= units.parse_duration(f"1{unit}")
        if not math.isfinite(value):
            self.wrong(token, "a number that is not quite as large")
            return 1.0
        return value

    def duration(self, token: lark.Token) -> float:
        try:
            return units.parse_duration(str(token))
        except ValueError:
            self.wrong(token, "a duration such as 30s or 5m")
            return 1.0

    def window(self, token: lark.Token) -> float:
        found = self.duration(token)
        if found <= 0:
            self.wrong(token, "a window longer than nothing, such as 5m")
        return found


def _at(token: lark.Token) -> int:
    return token.start_pos or 0


def _matcher(tree: lark.Tree[Any]) -> Matcher:
    label, sign, glob = (cast("lark.Token", child) for child in tree.children)
    return Matcher(str(label), str(sign) == "=", str(glob).strip('"'), _at(label))
