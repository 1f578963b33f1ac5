"""Conditions made ready for the series of a host, so that a row costs a few array operations.

Which series match and which instances meet depends on names alone, which seldom change. A bound
node knows its instances and yields one array a row. Truth is 1, 0, or NaN for want of data, after
Kleene: ``false and unknown`` is false, ``true and unknown`` is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from outrider.alerts import windows
from outrider.alerts.expression import (
    ARITHMETIC,
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
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray

    from outrider.alerts.frame import Frame
    from outrider.alerts.selectors import Key, Selector

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

# A rule that is meant for so many things at once is meant otherwise, and would be heard as a storm.
MOST_INSTANCES = 20_000


class Names:
    """The series of a host, and which of them selectors match; each is looked up once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._place = {name: place for place, name in enumerate(names)}
        self._areas: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            self._areas.setdefault(name.partition(".")[0], []).append(place)
        self._found: dict[str, tuple[Places, list[Key]]] = {}

    def select(self, selector: Selector) -> tuple[Places, list[Key]]:
        """Return the places of matching series, and the values of their labels."""
        found = self._found.get(selector.text)
        if found is None:
            found = self._found[selector.text] = self._select(selector)
        return found

    def _select(self, selector: Selector) -> tuple[Places, list[Key]]:
        if not selector.labels:
            place = self._place.get(selector.text)
            return (np.array([] if place is None else [place], dtype=np.int64),
                    [] if place is None else [()])  # fmt: skip
        area = selector.area
        candidates = self._areas.get(area, []) if area else range(len(self.names))
        keys: dict[Key, int] = {}
        for place in candidates:
            key = selector.key(self.names[place])
            if key is not None and keys.setdefault(key, place) != place:
                both = f"{self.names[keys[key]]} and {self.names[place]}"
                raise BadArgument(f"{selector.text}: {both} are the same instance.")
        if len(keys) > MOST_INSTANCES:
            raise BadArgument(
                f"{selector.text} matches {len(keys)} series, more than {MOST_INSTANCES}; name "
                "them closer, or put them together with sum(...) or `2 of (...)`."
            )
        return np.fromiter(keys.values(), np.int64, len(keys)), list(keys)


@dataclass(slots=True)
class Bound:
    """A node with its instances. ``run`` returns one number, or truth, for each.

    ``shown`` returns the number that a person wants to see beside a condition.
    """

    labels: tuple[str, ...]
    keys: list[Key]
    run: Callable[[Frame], Floats]
    shown: Callable[[Frame], Floats]


def bind(  # noqa: PLR0911 - a kind of node, a line
    node: Node, names: Names, known: Collection[Key] = ()
) -> Bound:
    """Make a node ready for the series of a host.

    ``known`` are the instances that were there before, which ``absent`` asks for.

    Raises:
        BadArgument: two series would be the same instance, or there are far too many.
    """
    match node:
        case Number():
            return _number(node.value)
        case Value():
            places, keys = names.select(node.selector)
            return _of(node.selector.labels, keys, lambda frame: frame.values[places])
        case Windowed():
            return _windowed(node, names)
        case Signal():
            return _signal(node, names)
        case Absent():
            return _absent(node, names, known)
        case Unary():
            return _unary(node, bind(node.of, names, known))
        case Binary():
            return _binary(node, bind(node.left, names, known), bind(node.right, names, known))
        case Aggregate():
            return _aggregate(node, bind(node.of, names, known))
        case AtLeast():
            return _at_least(node, [bind(part, names, known) for part in node.parts])


def _of(labels: tuple[str, ...], keys: list[Key], run: Callable[[Frame], Floats]) -> Bound:
    return Bound(labels, keys, run, run)


def _number(value: float) -> Bound:
    constant = np.array([value])
    return _of((), [()], lambda _: constant)


def _windowed(node: Windowed, names: Names) -> Bound:
    places, keys = names.select(node.selector)

    def run(frame: Frame) -> Floats:
        if not len(places):
            return np.empty(0)
        times_s, values = frame.before(places, node.window_s)
        return windows.apply(node.function, times_s, values)

    return _of(node.selector.labels, keys, run)


def _signal(node: Signal, names: Names) -> Bound:
    places, keys = names.select(node.selector)
    series = [names.names[place] for place in places.tolist()]

    def run(frame: Frame) -> Floats:
        found = np.fromiter((frame.signals(node.kind, name) for name in series), float, len(series))
        return np.where(np.isnan(frame.values[places]), np.nan, found)

    return _of(node.selector.labels, keys, run)


def _absent(node: Absent, names: Names, known: Collection[Key]) -> Bound:
    places, there = names.select(node.selector)
    place = dict(zip(there, places.tolist(), strict=True))
    keys = list(dict.fromkeys((*there, *known)))
    at = np.array([place.get(key, -1) for key in keys], dtype=np.int64)

    def run(frame: Frame) -> Floats:
        return np.isnan(_taken(frame.values, at)).astype(float)

    return _of(node.selector.labels, keys, run)


def _unary(node: Unary, of: Bound) -> Bound:
    if node.op == "not":
        return Bound(of.labels, of.keys, lambda frame: 1.0 - of.run(frame), of.shown)
    change = np.negative if node.op == "-" else np.abs
    return _of(of.labels, of.keys, lambda frame: cast("Floats", change(of.run(frame))))


def _binary(node: Binary, left: Bound, right: Bound) -> Bound:
    labels, keys, (one, two) = _meet([left, right], inner=node.op not in ("and", "or"))
    operate = _OPERATIONS[node.op]

    def run(frame: Frame) -> Floats:
        with np.errstate(all="ignore"):
            return operate(one(left.run(frame)), two(right.run(frame)))

    if node.op in ARITHMETIC:
        return _of(labels, keys, run)
    first, second = one, two
    if isinstance(node.left, Number):
        left, first = right, two

    def shown(frame: Frame) -> Floats:
        found = first(left.shown(frame))
        if node.op != "or":
            return found
        # Of two reasons, the one that holds.
        by_left, by_right = one(left.run(frame)), two(right.run(frame))
        return np.where((by_left != 1) & (by_right == 1), second(right.shown(frame)), found)

    return Bound(labels, keys, run, shown)


def _aggregate(node: Aggregate, of: Bound) -> Bound:
    def run(frame: Frame) -> Floats:
        values = of.run(frame)
        known = values[~np.isnan(values)]
        if node.function == "count":
            is_truth = of.run is not of.shown
            return np.array([float(known.sum() if is_truth else len(known))])
        if not len(known):
            return np.array([np.nan])
        with np.errstate(all="ignore"):
            return np.array([float(_ACROSS[node.function](known))])

    return _of((), [()], run)


def _at_least(node: AtLeast, parts: list[Bound]) -> Bound:
    if len(parts) == 1:
        of = parts[0]

        def across(frame: Frame) -> tuple[Floats, Floats]:
            return _tally(of.run(frame)[:, None], node)

        return Bound((), [()], lambda f: across(f)[0], lambda f: across(f)[1])
    labels, keys, aligned = _meet(parts, inner=False)

    def each(frame: Frame) -> tuple[Floats, Floats]:
        found = [align(part.run(frame)) for align, part in zip(aligned, parts, strict=True)]
        return _tally(np.array(found), node)

    return Bound(labels, keys, lambda f: each(f)[0], lambda f: each(f)[1])


def _tally(truth: Floats, node: AtLeast) -> tuple[Floats, Floats]:
    """Return whether enough of the rows of ``truth`` hold, and how many do."""
    held = (truth == 1).sum(axis=0).astype(float)
    known = (~np.isnan(truth)).sum(axis=0)
    # What is not known of one bot must not keep the others from being counted.
    needed = node.least * known - 1e-9 if node.share else node.least
    found = np.where(known > 0, held >= needed, np.nan)
    return found, held


def _meet(
    parts: list[Bound], *, inner: bool
) -> tuple[tuple[str, ...], list[Key], list[Callable[[Floats], Floats]]]:
    """Return the instances of several nodes together, and how each one's array is laid out.

    One with fewer labels is repeated for each instance of the widest. ``inner`` leaves out the
    instances that one of them does not have.
    """
    widest = max(parts, key=lambda part: len(part.labels))
    labels, keys = widest.labels, widest.keys
    same = [part for part in parts if set(part.labels) == set(labels)]
    if not inner and len(same) > 1:
        keys = list(dict.fromkeys(key for part in same for key in _turned(part, labels)))
    places = [_places(part, labels, keys) for part in parts]
    if inner:
        there = np.logical_and.reduce([at >= 0 for at in places])
        if not there.all():
            keys = [key for key, is_there in zip(keys, there.tolist(), strict=True) if is_there]
            places = [at[there] for at in places]
    return labels, keys, [_layout(at, part) for at, part in zip(places, parts, strict=True)]


def _turned(part: Bound, labels: tuple[str, ...]) -> Iterable[Key]:
    """Return a node's keys in another order of its labels."""
    if part.labels == labels:
        return part.keys
    order = [part.labels.index(label) for label in labels]
    return [tuple(key[at] for at in order) for key in part.keys]


def _places(part: Bound, labels: tuple[str, ...], keys: list[Key]) -> Places:
    if part.keys is keys and part.labels == labels:
        return np.arange(len(keys))
    place = {key: at for at, key in enumerate(part.keys)}
    order = [labels.index(label) for label in part.labels]
    found = (place.get(tuple(key[at] for at in order), -1) for key in keys)
    return np.fromiter(found, np.int64, len(keys))


def _layout(at: Places, part: Bound) -> Callable[[Floats], Floats]:
    if len(at) == len(part.keys) and (at == np.arange(len(at))).all():
        return lambda values: values
    if not (at < 0).any():
        return lambda values: values[at]
    return lambda values: _taken(values, at)


def _taken(values: Floats, at: Places) -> Floats:
    """Return values by place, NaN for place -1."""
    found: Floats = np.append(values, np.nan)[at]
    return found


def _and(left: Floats, right: Floats) -> Floats:
    return np.where((left == 0) | (right == 0), 0.0, left * right)


def _or(left: Floats, right: Floats) -> Floats:
    return np.where((left == 1) | (right == 1), 1.0, left + right)


def _comparison(ufunc: np.ufunc) -> Callable[[Floats, Floats], Floats]:
    def compare(left: Floats, right: Floats) -> Floats:
        return np.where(np.isnan(left) | np.isnan(right), np.nan, ufunc(left, right))

    return compare


_OPERATIONS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide,
    ">": _comparison(np.greater), ">=": _comparison(np.greater_equal),
    "<": _comparison(np.less), "<=": _comparison(np.less_equal),
    "==": _comparison(np.equal), "!=": _comparison(np.not_equal),
    "and": _and, "or": _or,
}  # fmt: skip
_ACROSS: dict[str, Callable[[Floats], np.float64]] = {
    "avg": np.mean,
    "min": np.min,
    "max": np.max,
    "sum": np.sum,
}
