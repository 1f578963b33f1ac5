from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.alerts import binding, expression, frame, rules
from outrider.alerts.binding import Names
from outrider.alerts.expression import Aggregate, AtLeast, Binary, Number, Unary, Value
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from outrider.alerts.expression import Node

NAN = math.nan
ROW = {
    "bot.a.up": 0.0, "bot.b.up": 1.0, "bot.c.up": NAN,
    "bot.a.rss": 10.0, "bot.b.rss": 20.0,
    "bot.a.cache.x.hits": 1.0, "bot.a.cache.y.hits": 2.0, "bot.b.cache.x.hits": 3.0,
    "host.mem": 40.0, "zero": 0.0,
}  # fmt: skip


def truth(text: str, row: dict[str, float] | None = None) -> dict[tuple[str, ...], float]:
    row = ROW if row is None else row
    bound = binding.bind(rules.parse("n", text).condition, Names(tuple(row)))
    found = bound.run(frame.of_values(row)).tolist()
    return dict(zip(bound.keys, found, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot.*.up < 1", {("a",): 1, ("b",): 0, ("c",): NAN}),
        ("bot.*.rss / host.mem >= 0.5", {("a",): 0, ("b",): 1}),
        ("bot.*.cache.*.hits / bot.*.rss > 0.12",
         {("a", "x"): 0, ("a", "y"): 1, ("b", "x"): 1}),
        ("bot.*.up < 1 and bot.*.rss > 5", {("a",): 1, ("b",): 0, ("c",): NAN}),
        ("bot.*.up < 1 or bot.*.rss > 5", {("a",): 1, ("b",): 1, ("c",): NAN}),
        ("not bot.*.up < 1", {("a",): 0, ("b",): 1, ("c",): NAN}),
        ("sum(bot.*.rss) > 29", {(): 1}),
        ("count(bot.*.up) > 1", {(): 1}),
        ("count(bot.*.up < 1) == 1", {(): 1}),
        ("avg(bot.*.rss) == 15", {(): 1}),
        ("50% of (bot.*.up < 1)", {(): 1}),
        ("all of (bot.*.up < 1)", {(): 0}),
        ("any of (bot.*.up < 1)", {(): 1}),
        ("2 of (bot.*.up < 1)", {(): 0}),
        ("2 of (bot.*.up < 1, bot.*.rss > 5, host.mem > 1)", {("a",): 1, ("b",): 1, ("c",): 0}),
        ("any of (bot.*.none < 1)", {(): NAN}),
        ("none > 1", {}),
        ("zero / zero > 0", {(): NAN}),
        ("host.mem / zero > 0", {(): 1}),
        ("abs(-host.mem) == 40", {(): 1}),
        ("host.mem - 2 * 10 + 1 == 21", {(): 1}),
    ],
)  # fmt: skip
def test_conditions_hold_instance_by_instance(
    text: str, expected: dict[tuple[str, ...], float]
) -> None:
    assert expected == pytest.approx(truth(text), nan_ok=True)


def test_far_too_many_instances_are_refused() -> None:
    with pytest.raises(BadArgument, match="more than 20000"):
        truth("s*.x > 0", {f"s{number}.x": 1.0 for number in range(20_001)})


BOTS = ("a", "b", "c")
NUMBERS = st.sampled_from([NAN, 0.0, 1.0, 2.0])
TABLE = st.fixed_dictionaries({f"bot.{bot}.{what}": NUMBERS for bot in BOTS for what in "xy"})
ATOM = st.sampled_from(
    ["bot.*.x > 1", "bot.*.y < 1", "bot.*.x == bot.*.y", "bot.*.x + bot.*.y > 2",
     "any of (bot.*.x > 1)", "2 of (bot.*.y > 0)", "max(bot.*.x) > bot.*.y"]
)  # fmt: skip
CONDITION = st.recursive(
    ATOM,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
        inner.map(lambda text: f"not ({text})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda texts: f"2 of ({', '.join(texts)})"),
    ),
    max_leaves=6,
)


def slow(node: Node, row: dict[str, float], bot: str) -> float:  # noqa: C901, PLR0911 - a kind of node, a case
    """Return a node's value for one bot, the plain way; NaN is unknown."""
    match node:
        case Number():
            return node.value
        case Value():
            return row[node.selector.series((bot,))]
        case Unary():
            return 1.0 - slow(node.of, row, bot)
        case Aggregate():
            known = [v for v in (slow(node.of, row, each) for each in BOTS) if not math.isnan(v)]
            return max(known, default=NAN)
        case AtLeast() if len(node.parts) == 1:
            parts = [slow(node.parts[0], row, each) for each in BOTS]
        case AtLeast():
            parts = [slow(part, row, bot) for part in node.parts]
        case Binary():
            left, right = slow(node.left, row, bot), slow(node.right, row, bot)
            if node.op == "and":
                return 0.0 if 0 in (left, right) else left * right
            if node.op == "or":
                return 1.0 if 1 in (left, right) else left + right
            if math.isnan(left) or math.isnan(right):
                return NAN
            by = {"+": left + right, ">": left > right, "<": left < right, "==": left == right}
            return float(by[node.op])
        case _:
            raise AssertionError(node)
    if all(math.isnan(part) for part in parts):
        return NAN
    return float(sum(part == 1 for part in parts) >= node.least)


@settings(deadline=None)
@given(text=CONDITION, row=TABLE)
def test_all_bots_at_once_are_as_each_by_itself(text: str, row: dict[str, float]) -> None:
    node = rules.parse("n", text).condition
    bound = binding.bind(node, Names(tuple(row)))
    found = dict(zip(bound.keys, bound.run(frame.of_values(row)).tolist(), strict=True))

    for bot in BOTS:
        key = (bot,) if bound.labels else ()
        assert slow(node, row, bot) == pytest.approx(found[key], nan_ok=True)


def test_what_is_shown_is_the_number_that_was_compared() -> None:
    def shown(text: str) -> list[float]:
        bound = binding.bind(rules.parse("n", text).condition, Names(tuple(ROW)))
        values: list[float] = bound.shown(frame.of_values(ROW)).tolist()
        return values

    assert shown("host.mem > 1") == [40.0]
    assert shown("1 < host.mem") == [40.0]
    assert shown("zero > 1 or host.mem > 1") == [40.0]
    assert shown("2 of (bot.*.rss > 5)") == [2.0]


def test_every_node_is_walked() -> None:
    node = rules.parse("n", "2 of (a > 1, not b > abs(c), avg(d.*) > 1)").condition

    assert [each.text for each in expression.selectors(node)] == ["a", "b", "c", "d.*"]
