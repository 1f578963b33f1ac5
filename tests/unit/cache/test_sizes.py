from __future__ import annotations

import sys
from dataclasses import dataclass

from outrider.cache import sizes


@dataclass
class Plain:
    text: str


@dataclass(slots=True)
class Slotted:
    text: str


def test_what_is_inside_counts() -> None:
    text = "x" * 10_000
    for value in ([text], (text,), {"a": text}, {text}, Plain(text), Slotted(text), [[[text]]]):
        assert 10_000 < sizes.estimate(value) < 12_000, value


def test_shared_parts_and_cycles_are_counted_once() -> None:
    text = "x" * 10_000
    ring: list[object] = [text, text]
    ring.append(ring)
    assert sizes.estimate(ring) < 11_000


def test_a_large_value_is_estimated_by_its_first_parts() -> None:
    value = [f"{number:0100d}" for number in range(100_000)]
    whole = sys.getsizeof(value) + sum(map(sys.getsizeof, value))
    assert 0.005 * whole < sizes.estimate(value) < 2 * whole
