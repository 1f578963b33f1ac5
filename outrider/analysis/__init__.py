"""Says what is normal, what is odd, and what holds the fleet back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.analysis.anomaly_bank import AnomalyBank as AnomalyBank
    from outrider.analysis.anomaly_detector import ALARM_THRESHOLD as ALARM_THRESHOLD
    from outrider.analysis.anomaly_detector import AnomalyDetector as AnomalyDetector

_LAZY = {
    "ALARM_THRESHOLD": "outrider.analysis.anomaly_detector",
    "AnomalyBank": "outrider.analysis.anomaly_bank",
    "AnomalyDetector": "outrider.analysis.anomaly_detector",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'outrider.analysis' has no attribute {name!r}")
