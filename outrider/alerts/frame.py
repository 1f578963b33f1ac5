"""One row of a host as rules see it: the newest values, what was before, what the analysis says.

Windows up to ``NEAR_S`` are cut from rows that were read for all rules together; a longer one reads
the series that a rule names, one by one, which costs less than whole rows of a day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from outrider.alerts.expression import SignalKind
    from outrider.alerts.rules import Rule
    from outrider.samples import Values, Window

    Floats = NDArray[np.float64]
    Past = Callable[[str, float, float], tuple[Floats, Floats]]
    Signals = Callable[[SignalKind, str], float]

NEAR_S = 900.0
_NAN = float("nan")


def no_signals(kind: SignalKind, series: str) -> float:
    """Say nothing: there is no analysis."""
    del kind, series
    return _NAN


@dataclass(frozen=True, slots=True)
class Frame:
    """The row at place ``at`` of ``window``. ``past(series, start_s, end_s)`` reads longer ago."""

    window: Window
    at: int
    interval_s: float
    past: Past | None = None
    signals: Signals = no_signals

    @property
    def names(self) -> tuple[str, ...]:
        """Return the series of the window; some may be missing in the row."""
        return self.window.names

    @property
    def at_s(self) -> float:
        """Return the time of the row."""
        return float(self.window.times_s[self.at])

    @property
    def values(self) -> Floats:
        """Return the row, shape ``[series]``; NaN for what is missing."""
        found: Floats = self.window.values[self.at]
        return found

    def before(self, places: NDArray[np.int64], window_s: float) -> tuple[Floats, Floats]:
        """Return ``(times_s, values)`` of series over a window that ends with the row."""
        start_s = self.at_s - max(window_s, self.interval_s)
        if window_s > NEAR_S and self.past is not None:
            return self._far(places, start_s)
        first = int(np.searchsorted(self.window.times_s, start_s - 1e-6))
        span = slice(first, self.at + 1)
        return self.window.times_s[span], self.window.values[span][:, places]

    def _far(self, places: NDArray[np.int64], start_s: float) -> tuple[Floats, Floats]:
        assert self.past
        end_s = self.at_s + self.interval_s / 2
        found = [self.past(self.names[place], start_s, end_s) for place in places.tolist()]
        times = np.unique(np.concatenate([np.array([self.at_s]), *(each for each, _ in found)]))
        table = np.full((len(times), len(found)), np.nan)
        for column, (known_s, known) in enumerate(found):
            table[np.searchsorted(times, known_s), column] = known
        return times, table


def of_values(values: Values, at_s: float = 0.0, **rest: Any) -> Frame:
    """Return a row without a past, for trying things out."""
    numbers = np.array([list(values.values())], dtype=float).reshape(1, len(values))
    window = rows_window(tuple(values), [at_s], numbers)
    return Frame(window, 0, rest.pop("interval_s", 10.0), **rest)


def rows_window(names: Sequence[str], times_s: Sequence[float], values: Floats) -> Window:
    """Return rows side by side."""
    from outrider.samples import Window

    return Window(tuple(names), np.asarray(times_s, dtype=float), values)


def reach_s(rules: Sequence[Rule]) -> float:
    """Return how far back rows must be read for all rules together."""
    return max((rule.reach_s for rule in rules if rule.reach_s <= NEAR_S), default=0.0)


@dataclass(slots=True)
class Report:
    """Signals from a stored report of the analysis; none when it is of another time.

    A series that is not odd has the score 0, one that is not heading for its limit an infinite
    time. A limit is known of disks, memory, pools, connections and queues.
    """

    report: Mapping[str, Any]
    at_s: float
    fresh_s: float
    _found: dict[str, dict[str, float]] = field(default_factory=dict)

    def __call__(self, kind: SignalKind, series: str) -> float:
        """Return the score or the seconds of a series, NaN when nothing is known."""
        if not self._found:
            self._found = self._read()
        return self._found[kind].get(series, self._found["default"][kind])

    def _read(self) -> dict[str, dict[str, float]]:
        anomalies, limits, score = {}, {}, _NAN
        made_s = self.report.get("at_s")
        if made_s is not None and abs(self.at_s - made_s) <= self.fresh_s:
            anomalies = {
                each["series"]: float(each["score"]) for each in self.report.get("anomalies", ())
            }
            looked_s = self.report.get("outlook_at_s")
            age_s = 0.0 if looked_s is None else self.at_s - looked_s
            limits = {
                each["series"]: _left(each.get("eta_s"), age_s)
                for each in self.report.get("limits", ())
            }
            score = 0.0
        default = {"anomaly": score, "time_to_limit": _NAN}
        return {"anomaly": anomalies, "time_to_limit": limits, "default": default}


def _left(eta_s: float | None, age_s: float) -> float:
    return float("inf") if eta_s is None else max(0.0, float(eta_s) - age_s)
