"""Outrider rides beside a fleet of Python bots: it measures, explains, warns, tunes, restarts.

What a bot imports is here, and is loaded when first used, so that ``import outrider`` adds nothing
to a bot's start.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing alone would be most of what this import costs
if TYPE_CHECKING:
    from typing import Any

    from outrider.sdk.bot import Bot as Bot
    from outrider.sdk.cached import cached as cached
    from outrider.sdk.database import create_async_engine as create_async_engine
    from outrider.sdk.database import create_engine as create_engine
    from outrider.sdk.database import for_reads as for_reads
    from outrider.sdk.instrument import instrument as instrument
    from outrider.sdk.routed import create_routed as create_routed

__version__ = "0.1.0"

_LAZY = {
    "Bot": "outrider.sdk.bot",
    "cached": "outrider.sdk.cached",
    "create_async_engine": "outrider.sdk.database",
    "create_engine": "outrider.sdk.database",
    "create_routed": "outrider.sdk.routed",
    "for_reads": "outrider.sdk.database",
    "instrument": "outrider.sdk.instrument",
}
_ROOMS = frozenset(
    {"alerts", "analysis", "cache", "database", "metrics", "schedules", "sdk", "store"}
    | {"supervisor", "tasks", "testing", "validation", "web", "workers"}
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"outrider.{name}")
    raise AttributeError(f"module 'outrider' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_ROOMS})
