"""Says what is normal, what is odd, and what holds the fleet back.

What people import from here is loaded when first used: analysis brings numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.analysis.anomaly_bank import AnomalyBank as AnomalyBank
    from outrider.analysis.anomaly_detector import ALARM_THRESHOLD as ALARM_THRESHOLD
    from outrider.analysis.anomaly_detector import AnomalyDetector as AnomalyDetector
    from outrider.analysis.exhaustion import TimeToLimit as TimeToLimit
    from outrider.analysis.exhaustion import time_to_limit as time_to_limit
    from outrider.analysis.forecasting import Forecast as Forecast
    from outrider.analysis.forecasting import forecast as forecast

_LAZY = {
    "ALARM_THRESHOLD": "anomaly_detector",
    "AnomalyBank": "anomaly_bank",
    "AnomalyDetector": "anomaly_detector",
    "Forecast": "forecasting",
    "TimeToLimit": "exhaustion",
    "forecast": "forecasting",
    "time_to_limit": "exhaustion",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"outrider.analysis.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'outrider.analysis' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
