"""Says why a sample is odd: which component saw it, what was expected, what came, since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from outrider.analysis import anomaly_tuning as tuning

Component = Literal["level", "season", "spread", "novelty", "flat_line"]
_PER_RESIDUAL = len(tuning.SMOOTHINGS)
_SEASONAL = ("day", "week")
# From this smoothing on, some ten samples must agree.
_LASTING = 2


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the last sample is odd.

    ``low`` to ``high`` is where a deviation that lasted as long would not have been odd.
    ``since_s`` is when evidence began that has not ended yet.
    """

    component: Component
    low: float
    high: float
    observed: float
    since_s: float


def residual_of(feature: int) -> int:
    """Return the place, within a view, of the residual that a feature smooths."""
    return feature // _PER_RESIDUAL % len(tuning.RESIDUALS)


def is_seasonal(feature: int) -> bool:
    """Tell whether a feature is measured from the time of day or week."""
    return tuning.RESIDUALS[residual_of(feature)] in _SEASONAL


def component(evidence: dict[int, float], *, is_flat: bool, is_new: bool) -> Component:
    """Name the component that says most. ``evidence`` is by feature.

    A value never seen before is a novelty. An ordinary value at an unusual time is a matter of the
    season: day or week are surprised, the long level is not. Of the rest, deviations that do not
    last are of the spread: single samples say more than the slower smoothings. Else the level.

    >>> component({0: 1.0, 8: 1.0, 12: 1.0}, is_flat=False, is_new=False)
    'spread'
    """
    if is_flat:
        return "flat_line"
    if is_new:
        return "novelty"
    long_level = any(tuning.RESIDUALS[residual_of(at)] == "level_500" for at in evidence)
    if not long_level and any(is_seasonal(at) for at in evidence):
        return "season"
    fleeting = sum(z for at, z in evidence.items() if at % _PER_RESIDUAL == 0)
    lasting = sum(z for at, z in evidence.items() if at % _PER_RESIDUAL >= _LASTING)
    return "spread" if fleeting > lasting else "level"
