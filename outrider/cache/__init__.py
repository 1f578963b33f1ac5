"""A two-tier cache that is warmed before it is asked."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.cache.coldstart import warm_up as warm_up
    from outrider.cache.coldstart import warm_up_async as warm_up_async
    from outrider.cache.memory import MemoryCache as MemoryCache
    from outrider.cache.planner import WarmingPlanner as WarmingPlanner

_LAZY = {
    "MemoryCache": "outrider.cache.memory",
    "WarmingPlanner": "outrider.cache.planner",
    "warm_up": "outrider.cache.coldstart",
    "warm_up_async": "outrider.cache.coldstart",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'outrider.cache' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
