"""Tells the log of the worker: always on, needs nothing, and is there when all else is away."""

from __future__ import annotations

import logging
from typing import Any

from outrider.alerts.channels import base

logger = logging.getLogger("outrider.alerts")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class LogChannel:
    """Writes one line a change."""

    name = "log"

    def deliver(self, change: dict[str, Any]) -> str:
        """Write the change as one line."""
        level = logging.INFO if base.has_ended(change) else _LEVELS[change["severity"]]
        logger.log(level, "%s", base.words(change))
        return "written"
