"""Mergeable sketches of durations: a quantile within one percent, whoever measured its parts.

The logarithmic buckets of DDSketch (Masson, Rim, Lee: "DDSketch", VLDB 2019): bucket ``i`` holds
what lies in ``(GAMMA^(i-1), GAMMA^i]``. Sketches are plain dicts of bucket -> count, so that adding
two is adding their counts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GAMMA = 1.01 / 0.99
ZERO_BUCKET = -(1 << 31)
_LOG_GAMMA = math.log(GAMMA)


def index(seconds: float) -> int:
    """Return the bucket of a duration; zero and less have one of their own.

    >>> index(1.0), index(0.0) == ZERO_BUCKET
    (0, True)
    """
    return math.ceil(math.log(seconds) / _LOG_GAMMA) if seconds > 0 else ZERO_BUCKET


def quantile(buckets: Mapping[int, int], q: float) -> float:
    """Return the duration in seconds below which a share ``q`` lies; NaN when there is none.

    >>> round(quantile({index(0.5): 99, index(8.0): 1}, 0.5), 2)
    0.5
    """
    rank = q * (sum(buckets.values()) - 1)
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen > rank:
            return 0.0 if bucket == ZERO_BUCKET else 2 * GAMMA**bucket / (GAMMA + 1)
    return math.nan
