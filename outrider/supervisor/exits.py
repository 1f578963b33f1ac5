"""Tells the event loop when a child ends, without polling: a pidfd where the kernel has them.

Elsewhere a thread waits for each child (macOS; untested).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

OnExit = Callable[[int], None]


def watch(process: Popen[bytes], on_exit: OnExit) -> None:
    """Call ``on_exit(code)`` once in the running loop when ``process`` ends (negative: signal)."""
    loop = asyncio.get_running_loop()
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(process.pid)

        def readable() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            on_exit(process.wait())

        loop.add_reader(descriptor, readable)
        return
    threading.Thread(
        target=lambda: loop.call_soon_threadsafe(on_exit, process.wait()), daemon=True
    ).start()
