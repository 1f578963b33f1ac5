"""Tells the event loop when a child ends, without polling: its pidfd becomes readable."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

OnExit = Callable[[int], None]


def watch(pidfd: int, on_exit: OnExit) -> None:
    """Call ``on_exit(code)`` once in the running loop when a child ends (negative: signal).

    Takes the descriptor over, and closes it.
    """
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(pidfd)
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        assert ended is not None
        normal = ended.si_code == os.CLD_EXITED
        on_exit(ended.si_status if normal else -ended.si_status)

    loop.add_reader(pidfd, readable)
