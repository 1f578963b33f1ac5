"""A bot that does nothing but say so: what the processes phase starts, kills and stops."""

from __future__ import annotations

import sys
import threading

ALIVE = "probe: ready"


def main() -> None:
    """Be ready, write one line, and wait for the end."""
    from outrider.sdk.bot import Bot

    sys.stdout.write(f"{ALIVE}\n")
    sys.stdout.flush()
    Bot("probe").ready()
    threading.Event().wait()
