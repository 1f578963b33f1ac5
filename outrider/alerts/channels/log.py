"""Tells the log of the worker: always on, needs nothing, and is there when all else is away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from outrider.alerts import wording
from outrider.alerts.message import READABLE

if TYPE_CHECKING:
    from outrider.alerts.message import Message

logger = logging.getLogger("outrider.alerts")
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class LogChannel:
    """Writes one line a message, and one for each alert that it lists beyond the first."""

    name = "log"
    rate = "600/60s"
    most_alerts = READABLE
    is_sink = False

    def deliver(self, message: Message) -> str:
        """Write the message, each line an entry of its own."""
        level = _LEVELS.get(message.severity, logging.WARNING) if message.firing else logging.INFO
        for line in wording.text(message).split("\n"):
            logger.log(level, "%s", line)
        return "written"
