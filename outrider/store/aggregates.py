"""What a bucket of a roll-up tier keeps of each series, and how buckets become a longer one.

A gauge NAME becomes the columns ``NAME|min``, ``|max``, ``|sum``, ``|count`` and ``|last``; a
counter (``samples.is_counter``) ``NAME|increase``, ``|count`` and ``|last``. All of them merge
exactly: an hour made of twelve buckets is the hour made of its raw rows.

A NaN that was measured is not counted, and a series with nothing else has no columns in that
bucket. Infinities count into a gauge's least, greatest, last and sum (so its mean is infinite, or
NaN when both signs came); a counter can't be infinite, there they are passed over.

An *increase* is the sum of the steps between neighbouring samples. The step that leads into a
bucket, from the last sample before it, belongs to the bucket: so the increases of all buckets add
up to the growth of the counter. A step down is a counter that began anew: it counts what it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from outrider.samples import is_counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from outrider.samples import Window

    Numbers = NDArray[np.float64]

MIN, MAX, SUM, COUNT, LAST, INCREASE = "|min", "|max", "|sum", "|count", "|last", "|increase"
OF_GAUGE = (MIN, MAX, SUM, COUNT, LAST)
OF_COUNTER = (INCREASE, COUNT, LAST)
# Digits that a float64 can always hold; what lies beyond in a sum is noise, and noise costs bytes.
_DIGITS = 15
_LARGEST_POWER = 22  # of ten, that is exact


def columns(series: str) -> tuple[str, ...]:
    """Return the names of a series' columns.

    >>> columns("a_total")
    ('a_total|increase', 'a_total|count', 'a_total|last')
    """
    return tuple(series + what for what in (OF_COUNTER if is_counter(series) else OF_GAUGE))


def series_of(names: Iterable[str]) -> list[str]:
    """Return the series that columns belong to, in order.

    >>> series_of(["a|min", "a|count", "b_total|count"])
    ['a', 'b_total']
    """
    return [name.removesuffix(COUNT) for name in names if name.endswith(COUNT)]


def of_rows(window: Window, before: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the bucket of raw rows; ``before`` is each counter's last value before it."""
    before = before or {}
    made: dict[str, float] = {}
    for names, values in _split(window) if len(window.times_s) else ():
        if not names:
            continue
        if is_counter(names[0]):
            values[~np.isfinite(values)] = np.nan  # a copy of the window's
            first = np.array([[before.get(name, np.nan) for name in names]])
            numbers = {INCREASE: increases(np.concatenate([first, values]))}
        else:
            numbers = {MIN: _least(values), MAX: _greatest(values), SUM: _sum(values)}
        numbers[COUNT] = (~np.isnan(values)).sum(axis=0).astype(float)
        numbers[LAST] = _last(values)
        _put(made, names, numbers)
    return made


def of_buckets(window: Window) -> dict[str, float]:
    """Return the longer bucket that the buckets of a window, in time order, make up."""
    place = {name: column for column, name in enumerate(window.names)}
    known = series_of(window.names)
    made: dict[str, float] = {}
    for names in ([n for n in known if not is_counter(n)], [n for n in known if is_counter(n)]):
        if not names or not len(window.times_s):
            continue
        steps = {INCREASE: _total} if is_counter(names[0]) else {
            MIN: _least, MAX: _greatest, SUM: _total
        }  # fmt: skip
        count = _columns(window, place, names, COUNT)
        there = count > 0  # a row without the series has NaN here
        numbers = {COUNT: np.nansum(count, axis=0)}
        for what, merge in {**steps, LAST: _last}.items():
            numbers[what] = merge(_columns(window, place, names, what), there)
        _put(made, names, numbers)
    return made


def increases(values: Numbers) -> Numbers:
    """Return the growth of counters over rows, shape ``[series]`` of ``[rows, series]``."""
    held = _held(values)
    with np.errstate(invalid="ignore"):
        steps = np.diff(held, axis=0)
        steps = np.where(steps < 0, held[1:], steps)
    reach = _nan_to_zero(np.abs(held)).max(axis=0)
    return tidy(_nan_to_zero(steps).sum(axis=0), reach)


def tidy(numbers: Numbers, reach: Numbers) -> Numbers:
    """Return numbers without the digits that are noise of arithmetic on numbers up to ``reach``.

    >>> float(tidy(np.array([0.1 + 0.2]), np.array([0.3]))[0])
    0.3
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        digits = _DIGITS - 1 - np.floor(np.log10(reach))
        usable = (digits >= 0) & (digits <= _LARGEST_POWER) & np.isfinite(numbers)
        power = 10.0 ** np.where(usable, digits, 0)
        return np.where(usable, np.rint(numbers * power) / power, numbers)


def _split(window: Window) -> Iterable[tuple[list[str], Numbers]]:
    counter = np.array([is_counter(name) for name in window.names], dtype=bool)
    for which in (~counter, counter):
        yield [window.names[at] for at in np.flatnonzero(which)], window.values[:, which]


def _put(made: dict[str, float], names: list[str], numbers: Mapping[str, Numbers]) -> None:
    """Add the columns of every series that has a sample, series by series."""
    counted = numbers[COUNT] > 0
    lists = {what: column.tolist() for what, column in numbers.items()}
    for at in np.flatnonzero(counted).tolist():
        for what, column in lists.items():
            made[names[at] + what] = column[at]


def _columns(window: Window, place: Mapping[str, int], names: list[str], what: str) -> Numbers:
    found = [place.get(name + what, -1) for name in names]
    values = window.values[:, found]
    values[:, np.array(found) < 0] = np.nan  # a forged row; no tier makes one
    return values


def _least(values: Numbers, there: NDArray[np.bool_] | None = None) -> Numbers:
    there = ~np.isnan(values) if there is None else there
    least: Numbers = np.min(np.where(there, values, np.inf), axis=0, initial=np.inf)
    return least


def _greatest(values: Numbers, there: NDArray[np.bool_] | None = None) -> Numbers:
    there = ~np.isnan(values) if there is None else there
    greatest: Numbers = np.max(np.where(there, values, -np.inf), axis=0, initial=-np.inf)
    return greatest


def _sum(values: Numbers) -> Numbers:
    return _total(values, ~np.isnan(values))


def _total(values: Numbers, there: NDArray[np.bool_]) -> Numbers:
    chosen = np.where(there, values, 0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs
        return tidy(chosen.sum(axis=0), np.abs(chosen).sum(axis=0))


def _last(values: Numbers, there: NDArray[np.bool_] | None = None) -> Numbers:
    there = ~np.isnan(values) if there is None else there
    row = len(values) - 1 - np.argmax(there[::-1], axis=0)
    last: Numbers = np.take_along_axis(values, row[np.newaxis, :], axis=0)[0]
    return last


def _held(values: Numbers) -> Numbers:
    """Return values with each NaN replaced by the number above it."""
    rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, np.newaxis])
    np.maximum.accumulate(rows, axis=0, out=rows)
    held: Numbers = np.take_along_axis(values, rows, axis=0)
    return held


def _nan_to_zero(values: Numbers) -> Numbers:
    return np.where(np.isnan(values), 0.0, values)
