"""A bot at the other end of a socket: reads what it sends, writes what it gets, bounds both.

A bot that sends nonsense is closed with a reason. One that does not read loses publications, and
they are counted; requests to it wait until it reads again. One that does not even read the answers
that it asked for is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from outrider.channel.envelopes import BadFrame, Goodbye, decode_to_hub, encode
from outrider.channel.outbox import Outbox
from outrider.channel.pace import Pace
from outrider.channel.splitter import Splitter
from outrider.supervisor.channel.member import Member

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from outrider.channel.envelopes import ToHub
    from outrider.channel.outbox import Budget

# Below what malloc would fetch from the kernel, and give back, for each read.
READ_BYTES = 64 << 10
# Written at once before others have their turn.
FRAMES_AT_ONCE = 4


class Peer(Member):
    """One connection. ``handle(peer, envelope)`` gets what it says, ``gone(...)`` its end.

    ``gone(peer, why, at_fault)`` is told once, after everything was given up.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        pid: int,
        instance: str,
        bot: str,
        budget: Budget,
        handle: Callable[[Peer, ToHub], None],
        freed: Callable[[Peer], None],
        gone: Callable[[Peer, str, bool], None],
    ) -> None:
        super().__init__(instance, bot)
        self.pid = pid
        self.received_bytes = self.received_frames = 0
        self.outbox = Outbox(budget=budget)
        self._socket = connection
        self._handle, self._freed, self._gone = handle, freed, gone
        self._loop = asyncio.get_running_loop()
        self._splitter = Splitter()
        self._pace = Pace()
        self._writing = memoryview(b"")
        self._is_scheduled = False
        self._waits_for_room = False
        self._was_full = False
        self._is_closed = False
        self._loop.add_reader(connection, self._read)

    def give(self, envelope: bytes, *, urgent: bool, messages: int) -> bool:
        """Queue an envelope; what this turn of the loop queues is written together after it."""
        if self._is_closed:
            return False
        if not self.outbox.put(envelope, urgent=urgent, messages=messages):
            self._was_full = True
            if urgent:
                self.close("it does not read the answers that it asked for", at_fault=True)
            return False
        if not self._is_scheduled and not self._waits_for_room:
            self._is_scheduled = True
            if urgent or not self._pace.window_s:
                self._loop.call_soon(self._write)
            else:
                self._loop.call_later(self._pace.window_s, self._write)
        return True

    @property
    def has_room(self) -> bool:
        """Tell whether it keeps up with what it is given."""
        has = self.outbox.urgent_bytes < self.outbox.most_bytes // 2
        self._was_full = self._was_full or not has
        return has

    def close(self, reason: str, *, at_fault: bool = False) -> None:
        """Close the connection, and say why when it can be said at once. Safe to repeat."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if not self._writing:
            self.outbox.put(encode(Goodbye(reason[:500])), urgent=True)
            with contextlib.suppress(OSError):
                self._socket.send(self.outbox.take())
        self.outbox.clear()
        self._socket.close()
        self._gone(self, reason, at_fault)

    def _read(self) -> None:
        try:
            piece = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(str(error.strerror))
            return
        if not piece:
            self.close("ended")
            return
        self.received_bytes += len(piece)
        try:
            for payload in self._splitter.feed(piece):
                self.received_frames += 1
                for envelope in decode_to_hub(payload):
                    self._handle(self, envelope)
                    if self._is_closed:
                        return
        except BadFrame as error:
            self.close(str(error), at_fault=True)

    def _write(self) -> None:
        self._is_scheduled = False
        for _ in range(FRAMES_AT_ONCE):
            if self._is_closed:
                return
            if not self._writing:
                self._writing = memoryview(self.outbox.take())
            if not self._writing:
                break
            try:
                sent = self._socket.send(self._writing)
            except (BlockingIOError, InterruptedError):
                self._wait_for_room()
                return
            except OSError as error:
                self.close(str(error.strerror))
                return
            self._writing = self._writing[sent:]
            self._pace.note(1, time.monotonic())
        if self._writing or self.outbox.waiting_bytes:
            self._wait_for_room()
        elif self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._socket)
        if self._was_full and self.has_room:
            self._was_full = False
            self._freed(self)

    def _wait_for_room(self) -> None:
        if not self._waits_for_room:
            self._waits_for_room = True
            self._loop.add_writer(self._socket, self._write)
