"""The terminal, taken over for a while and given back as it was: after q, Ctrl-C, SIGTERM, a crash.

Single keys are read without echo (``cbreak``: Ctrl-C and Ctrl-Z stay signals); the frames are drawn
on the alternate screen, so that what stood there before is there again afterwards. Signals and
other threads wake the reader through a pipe, since a ``select`` does not end by itself for them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live

from outrider.cli.top.keys import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

# So long after an Esc the rest of a longer key would have come, also over a slow line.
_PAUSE_S = 0.05
_ENDED_BY = 128  # a shell's exit code for a process that a signal ended, less its number


class Screen:
    """A context in which ``show`` draws and ``keys`` waits. ``wake`` may be called by any thread.

    SIGTERM and SIGHUP become SystemExit, so that whatever leaves the context restores the terminal;
    Ctrl-Z gives it back for as long as the process is stopped.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keyboard = sys.stdin.fileno()
        self._decoder = Decoder()
        self._live: Live | None = None
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._ear, self._mouth = -1, -1
        self._stopped = False

    def __enter__(self) -> Self:
        self._ear, self._mouth = os.pipe()
        for end in (self._ear, self._mouth):
            os.set_blocking(end, False)
        asked: dict[int, Callable[[int, Any], None]] = {
            # What a shell without job control puts in the background has it ignored.
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGTSTP: self._stop,
            signal.SIGWINCH: lambda *_: self.wake(),
        }
        for number, handler in asked.items():
            self._handlers[number] = signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        mouth, self._mouth = self._mouth, -1
        os.close(mouth)
        os.close(self._ear)

    def show(self, frame: RenderableType) -> None:
        """Draw a frame in the place of the last one."""
        assert self._live
        self._live.update(frame, refresh=True)

    def keys(self, timeout_s: float) -> list[str]:
        """Return what was pressed, as soon as there is any; nothing after a wake or the timeout."""
        wait_s = _PAUSE_S if self._decoder.waits else timeout_s
        ready, _, _ = select.select([self._keyboard, self._ear], [], [], max(0.0, wait_s))
        if self._ear in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._ear, 4096)
        if self._stopped:
            self._suspend()
        if self._keyboard in ready:
            data = os.read(self._keyboard, 4096)
            return self._decoder.feed(data) if data else ["eof"]  # the terminal is gone
        return self._decoder.flush() if self._decoder.waits and not ready else []

    def wake(self) -> None:
        """Have ``keys`` return now."""
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody waits
            os.write(self._mouth, b"!")

    def _take(self) -> None:
        self._before = termios.tcgetattr(self._keyboard)
        tty.setcbreak(self._keyboard)
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._live.start()

    def _give_back(self) -> None:
        live, self._live = self._live, None
        before, self._before = self._before, None
        try:
            if live:
                with contextlib.suppress(OSError):  # the terminal is gone
                    live.stop()
        finally:
            if before:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._keyboard, termios.TCSADRAIN, before)

    def _end(self, number: int, _: Any) -> None:
        raise SystemExit(_ENDED_BY + number)

    def _stop(self, *_: Any) -> None:
        self._stopped = True  # not here: a frame may be half drawn
        self.wake()

    def _suspend(self) -> None:
        self._stopped = False
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)  # until SIGCONT
        self._take()
