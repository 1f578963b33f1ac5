"""A forked process that waits for its order, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from outrider.supervisor.zygote import wire

if TYPE_CHECKING:
    import socket

    from outrider.supervisor.zygote.wire import Message


class Unforkable(Exception):  # noqa: N818
    """A bot can't be forked, for a reason that a person should read. ``detail`` is for its log."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(why)
        self.detail = detail


class Unfit(Unforkable):
    """One module is the reason; a zygote without it may serve others."""

    def __init__(self, module: str, why: str) -> None:
        super().__init__(why)
        self.module = module


@dataclass(slots=True)
class Spare:
    """A forked process that waits for its order."""

    pid: int
    pidfd: int
    socket: socket.socket

    def become(self, order: Message, output: int) -> None:
        """Give it its order. Raises OSError: it is no more, or the order is too large."""
        wire.send(self.socket, order, (output,))
        if not order["learn"]:
            self.socket.close()

    async def discard(self) -> None:
        """End it."""
        self.socket.close()
        await end(self.pidfd)


async def end(pidfd: int) -> None:
    """Kill a child and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        reap(pidfd)


async def sweep(session: int) -> None:
    """End what a zygote left behind: the spares that nobody knows of, and their midwives."""
    while left := [pid for pid in _children() if _session(pid) == session]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):  # somebody reaps all orphans
                await end(os.pidfd_open(pid))


def _children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def reap(pidfd: int) -> None:
    """Take note of a child's end, and close its descriptor."""
    with contextlib.suppress(ChildProcessError):  # somebody reaps all orphans
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
