"""Intervals of the periodic work in seconds, by profile. Collection follows ``interval_s``.

``calm`` costs least, ``standard`` suits most fleets, ``live`` is for the hour in which somebody
watches.
"""

from __future__ import annotations

PROFILES: dict[str, dict[str, float]] = {
    "calm": {
        "baseline": 1800, "pools": 30, "warm": 30, "seal": 900, "rollup": 1800, "expire": 3600,
        "escalate": 300, "tune": 86_400, "validate": 86_400,
    },
    "standard": {
        "baseline": 600, "pools": 10, "warm": 10, "seal": 600, "rollup": 900, "expire": 1800,
        "escalate": 60, "tune": 21_600, "validate": 21_600,
    },
    "live": {
        "baseline": 120, "pools": 5, "warm": 2, "seal": 600, "rollup": 300, "expire": 1800,
        "escalate": 15, "tune": 3600, "validate": 3600,
    },
}  # fmt: skip
