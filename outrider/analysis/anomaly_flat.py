"""Tells when a series that used to move stands still: a run of equals is longer than ever.

A run counts as a flat line at the sample that makes it three times as long as the longest run
before it, and at least 60 samples (an hour). A series that moved less than 20 times may just stand
still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_RUN = 60
TIMES_LONGEST = 3
LEAST_MOVES = 20


def is_due(run: int, longest: int, moves: int, least: int) -> bool:
    """Tell whether a run of ``run`` equal steps has just become a flat line.

    >>> [is_due(run, longest=30, moves=50, least=60) for run in (89, 90, 91)]
    [False, True, False]
    """
    return moves >= LEAST_MOVES and run == max(least, TIMES_LONGEST * longest)


def are_due(
    run: NDArray[np.int64], longest: NDArray[np.int64], moves: NDArray[np.int64], least: int
) -> NDArray[np.bool_]:
    """Tell the same of many series."""
    due: NDArray[np.bool_] = run == np.maximum(least, TIMES_LONGEST * longest)
    return due & (moves >= LEAST_MOVES)
