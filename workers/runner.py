"""Starts a supervisor again when it was killed: the parent of `outrider up`, and nothing else.

::

    outrider up (this: waits, passes signals on)
     └── supervisor (forked from it) ──► bots, parts of the stack, log keeper

The supervisor is forked, so that a second one starts in a moment from what is in memory already.
Whatever the killed one had running is given to us by the kernel (we are a subreaper) and stays
alive; the next one adopts it. When we are killed, the supervisor is told by the kernel and stops
everything. Only when both are killed in one instant do bots live on without anybody: until the
next `outrider up` in that folder, which adopts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from outrider.supervisor import family, restart

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PR_SET_PDEATHSIG = 1
MOST_STARTS, WINDOW_S = 10, 60.0
_WAIT_S = 0.2
_GRACE_S = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stay_behind(say: Callable[[str], None]) -> None:
    """Return in a child process; the caller's own process stays here and never returns.

    The child's exit code becomes ours. One that is killed is started again: this function returns
    once more, in a new child. Call it before there are threads or an event loop.
    """
    family.become_subreaper()
    asked: list[int] = []
    child = 0

    def pass_on(number: int, _frame: Any) -> None:
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            if child:
                os.kill(child, number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    starts: list[float] = []
    while True:
        starts = [at_s for at_s in starts if at_s > time.monotonic() - WINDOW_S]
        starts.append(time.monotonic())
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        child = os.fork()
        if not child:
            for number, handler in before.items():
                signal.signal(number, handler)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent or asked:  # told to end before it began
                os._exit(0)
            return
        code = _ended(child)
        if code >= 0 or asked:
            _leave(max(code, 0))
        words = restart.describe(code)
        if len(starts) >= MOST_STARTS:
            say(f"the supervisor ended {len(starts)} times in {WINDOW_S:.0f} s, {words}; giving up")
            _leave(1)
        say(f"the supervisor was {words}; the next one adopts what runs")
        time.sleep(_WAIT_S)


def _ended(child: int) -> int:
    """Wait for the child, and collect orphans meanwhile. Return its code (negative: signal)."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _leave(code: int) -> NoReturn:
    """End what is left of the family, and this process."""
    deadline = time.monotonic() + _GRACE_S
    number = signal.SIGTERM
    while left := family.below(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.02)
    os._exit(code)
