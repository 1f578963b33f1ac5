"""What a budget's series are called. A unit is an objective, or one bot held to it.

>>> unit("answers"), unit("answers", "canary"), good(unit("answers"))
('slo.answers', 'slo.answers.by.canary', 'slo.answers.good_total')
"""

from __future__ import annotations

from outrider.slo import burn

# By window, as in ``slo.NAME.burn_ratio.1h``.
NAMES = {300.0: "5m", 1800.0: "30m", 3600.0: "1h", 7200.0: "2h", 21_600.0: "6h",
         86_400.0: "1d", 259_200.0: "3d"}  # fmt: skip
assert set(burn.WINDOWS_S) == set(NAMES)


def unit(slug: str, who: str = "") -> str:
    """Return how the series of an objective begin, or of one bot's part in it."""
    return f"slo.{slug}.by.{who}" if who else f"slo.{slug}"


def good(unit: str) -> str:
    """Return the counter of what was good."""
    return f"{unit}.good_total"


def total(unit: str) -> str:
    """Return the counter of all that counts."""
    return f"{unit}.total_total"


def excluded(unit: str) -> str:
    """Return the counter of what planned maintenance took out."""
    return f"{unit}.excluded_total"


def burn_ratio(unit: str, span_s: float) -> str:
    """Return the gauge of a window's burn."""
    return f"{unit}.burn_ratio.{NAMES[span_s]}"
