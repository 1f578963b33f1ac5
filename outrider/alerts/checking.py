"""Whether a condition that can be read also makes sense: types, and instances that meet.

Two nodes meet when one's labels are among the other's: ``bot.*.cache.*.hits_total`` and
``bot.*.updates_total`` do, by the bot; ``bot.*.rss_bytes`` and ``cache.*.hit_ratio`` do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.alerts import expression
from outrider.alerts.expression import (
    Aggregate,
    AtLeast,
    Binary,
    Node,
    Number,
    Unary,
    is_condition,
)
from outrider.alerts.grammar import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Labels = tuple[str, ...]


def check(condition: Node) -> list[Mistake]:
    """Return every mistake in a condition, from left to right."""
    found = list(_mistakes(condition))
    if not is_condition(condition):
        found.append(Mistake(condition.at, "a comparison such as `> 0.9`", "a number alone"))
    if not expression.selectors(condition):
        found.append(Mistake(condition.at, "a series to look at", "only numbers"))
    return sorted(found, key=lambda mistake: mistake.at)


def labels(node: Node) -> Labels:
    """Return the labels that tell the instances of a node apart; none when there is but one."""
    match node:
        case Number() | Aggregate():
            return ()
        case AtLeast() if len(node.parts) == 1:
            return ()
        case Unary() | Binary() | AtLeast():
            return max((labels(child) for child in expression.children(node)), key=len)
        case _:
            return node.selector.labels


def _mistakes(node: Node) -> Iterator[Mistake]:
    for child in expression.children(node):
        yield from _mistakes(child)
    match node:
        case Binary() if node.op in ("and", "or"):
            yield from _conditions(node.left, node.right)
        case Binary():
            yield from _numbers(node.left, node.right)
        case Unary() if node.op == "not":
            yield from _conditions(node.of)
        case Unary():
            yield from _numbers(node.of)
        case Aggregate() if node.function != "count":
            yield from _numbers(node.of)
        case AtLeast():
            yield from _conditions(*node.parts)
    yield from _instances(node)


def _instances(node: Node) -> Iterator[Mistake]:
    if isinstance(node, Binary) or (isinstance(node, AtLeast) and len(node.parts) > 1):
        yield from _strangers(expression.children(node))
    if isinstance(node, Aggregate) and not labels(node.of):
        yield Mistake(
            node.of.at, f"a series with a star, since {node.function} puts instances together"
        )
    if isinstance(node, AtLeast) and len(node.parts) == 1 and not labels(node.parts[0]):
        yield Mistake(
            node.parts[0].at, "a series with a star, or several conditions: `2 of (a > 1, b > 1)`"
        )


def _conditions(*nodes: Node) -> Iterator[Mistake]:
    for node in nodes:
        if not is_condition(node):
            yield Mistake(node.at, "a condition such as `x > 1`", "a number")


def _numbers(*nodes: Node) -> Iterator[Mistake]:
    for node in nodes:
        if is_condition(node):
            yield Mistake(node.at, "a number", "a condition")


def _strangers(nodes: Sequence[Node]) -> Iterator[Mistake]:
    widest = max((labels(node) for node in nodes), key=len)
    for node in nodes:
        if not set(labels(node)) <= set(widest):
            yield Mistake(
                node.at,
                f"the same instances on both sides, not {', '.join(labels(node))} here and "
                f"{', '.join(widest)} there; put one together with `any of (...)` or sum(...), or "
                "name the star: bot.{name}.rss_bytes",
            )
