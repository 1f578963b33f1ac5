"""The alert rules that every budget brings along; what they ask is decided by ``burn.decide``."""

from __future__ import annotations

from typing import Literal

Severity = Literal["info", "warning", "critical"]

# (name, condition, severity), as in ``outrider.alerts.defaults``. Decisions are made tick by tick
# and end with their short window; five minutes of calm keep one incident from being told twice.
RULES: tuple[tuple[str, str, Severity], ...] = (
    ("error budget burns fast", "slo.*.page > 0", "critical"),
    ("error budget burns", "slo.*.ticket > 0", "warning"),
    ("error budget is spent", "slo.*.left_ratio < 0 clear 0.05", "warning"),
)
