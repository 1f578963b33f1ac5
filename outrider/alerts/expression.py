"""What a condition is made of, once it is read. ``at`` is its column in the text, from 0.

A node is a number for each instance, or a *condition*: true, false, or unknown for want of data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.alerts.selectors import Selector

Over = Literal[
    "increase", "rate", "delta", "changes", "avg", "min", "max", "sum", "count", "stddev",
    "p50", "p90", "p95", "p99",
]  # fmt: skip
Across = Literal["avg", "min", "max", "sum", "count"]
SignalKind = Literal["anomaly", "time_to_limit"]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float
    at: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """The newest value of each series that matches."""

    selector: Selector
    at: int = 0


@dataclass(frozen=True, slots=True)
class Windowed:
    """What a function makes of each series' last ``window_s``, the newest value included."""

    function: Over
    selector: Selector
    window_s: float
    at: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """What the analysis says of each series."""

    kind: SignalKind
    selector: Selector
    at: int = 0


@dataclass(frozen=True, slots=True)
class Absent:
    """True for an instance that was there within a day and is not now."""

    selector: Selector
    at: int = 0


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x``, ``abs(x)`` or ``not x``."""

    op: Literal["-", "abs", "not"]
    of: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class Binary:
    """Arithmetic, a comparison, or ``and``/``or`` of two nodes, instance by instance."""

    op: str
    left: Node
    right: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number from all instances."""

    function: Across
    of: Node
    at: int = 0


@dataclass(frozen=True, slots=True)
class AtLeast:
    """``2 of (a, b, c)`` for each instance; of one condition: of its instances.

    ``share`` says that ``least`` is a share of what is known, not a number.
    """

    least: float
    share: bool
    parts: tuple[Node, ...]
    at: int = 0


Node = Number | Value | Windowed | Signal | Absent | Unary | Binary | Aggregate | AtLeast
ARITHMETIC = frozenset("+-*/")
COMPARISONS = frozenset((">", ">=", "<", "<=", "==", "!="))


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is made of."""
    match node:
        case Unary() | Aggregate():
            return (node.of,)
        case Binary():
            return (node.left, node.right)
        case AtLeast():
            return node.parts
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all that it is made of, from left to right."""
    yield node
    for child in children(node):
        yield from walk(child)


def selectors(node: Node) -> list[Selector]:
    """Return what series a node looks at, in the order in which they are written."""
    return [
        each.selector for each in walk(node) if isinstance(each, Value | Windowed | Signal | Absent)
    ]


def is_condition(node: Node) -> bool:
    """Tell a condition from a number."""
    match node:
        case Absent() | AtLeast():
            return True
        case Unary():
            return node.op == "not"
        case Binary():
            return node.op not in ARITHMETIC
        case _:
            return False
