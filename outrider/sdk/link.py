"""A bot's connection to the hub, and the one thread that looks after it.

::

    publish() ──► socket                        below 10,000 messages a second
    publish() ──► outbox ──each window──► socket            above
    socket ──► thread ──► handlers, answers

Whoever publishes writes by itself, at once or when the window is over or a frame is full: no thread
need wake for it. The thread writes what is left of a window that nobody ended, a window later, and
what the socket did not take before. When the outbox is full, the caller is told.

When the supervisor is replaced the thread connects again, sooner at first, every second later, and
says again what this bot subscribed to and serves. What was not written yet waits for that, in the
outbox; nothing is written before the hub has welcomed us, since it would be lost if it did not.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket
import threading
import time
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from outrider.channel.envelopes import (
    MOST_FRAME_TO_BOT_BYTES,
    VERSION,
    BadFrame,
    Hello,
    Welcome,
    decode_to_bot,
    encode,
    frame,
)
from outrider.channel.outbox import FRAME_BYTES, Outbox
from outrider.channel.pace import Pace
from outrider.channel.splitter import Splitter

if TYPE_CHECKING:
    from outrider.channel.envelopes import ToBot

logger = logging.getLogger(__name__)

READ_BYTES = 64 << 10
GATHERED_AT_MOST = 512
CONNECT_WITHIN_S = 2.0
TRIES_AGAIN_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
# select.select takes parts of a millisecond, and no descriptor above this.
_SELECTABLE = 1024


class Owner(Protocol):
    """What the link tells: all of it in its thread, and never while it holds its lock."""

    def greeting(self) -> list[bytes]:
        """Return the envelopes to say first on each new connection."""
        ...

    def received(self, envelope: ToBot) -> None:
        """Take an envelope."""
        ...

    def lost(self) -> None:
        """Hear that the connection is gone; what was written before may be lost."""
        ...

    def tick(self, now_s: float) -> float | None:
        """Do what is due; return the time at which to be called again."""
        ...

    def has_room(self) -> None:
        """Hear that an outbox that was full has room again."""
        ...


class Link:
    """Connects when started, and stays connected. Safe to use from any thread."""

    def __init__(self, path: str, owner: Owner) -> None:
        self.outbox = Outbox()
        self.pace = Pace()
        self.connects = 0
        self.reason = "not connected yet"
        self.thread: threading.Thread | None = None
        self._path, self._owner = path, owner
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._bell = -1
        self._sleeps_until_s = 0.0
        self._writing = memoryview(b"")
        self._gathers = self._is_blocked = self._was_full = self._is_closed = False
        self._write_at_s = 0.0

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a connection now."""
        return self._socket is not None

    @property
    def lock(self) -> threading.Lock:
        """Held while the outbox is touched."""
        return self._lock

    def start(self) -> None:
        """Begin to connect, in a thread of its own. Safe to repeat."""
        if self.thread is not None:
            return
        with self._lock:
            if self.thread is None:
                self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self.thread = threading.Thread(target=self._run, name="outrider-channel")
                self.thread.daemon = True
                self.thread.start()

    def publish(self, topic: str, body: bytes) -> bool:
        """Send an encoded body. False: the outbox is full."""
        with self._lock:
            outbox = self.outbox
            connected = self._socket
            if connected and not (self._gathers or self._writing or outbox.waiting_bytes):
                ready = outbox.pass_by(topic, body)
                try:
                    sent = connected.send(ready)
                except OSError:
                    sent = 0
                if sent == len(ready):
                    self._pace(1)
                else:
                    self._writing = memoryview(ready)[sent:]
                    self._write(1)
                return True
            if not outbox.publish(topic, body):
                self._was_full = True
                return False
            if (
                monotonic() >= self._write_at_s
                or outbox.gathered >= GATHERED_AT_MOST
                or outbox.bulk_bytes >= FRAME_BYTES
            ):
                self._write(outbox.gathered)
            return True

    def put(self, envelope: bytes, *, urgent: bool) -> bool:
        """Send an envelope, before what is bulk if it is urgent. False: the outbox is full."""
        with self._lock:
            if not self.outbox.put(envelope, urgent=urgent):
                self._was_full = True
                return False
            self._write(1)
            return True

    def ring(self, at_s: float) -> None:
        """See that the thread is awake by then."""
        if at_s < self._sleeps_until_s:
            self._sleeps_until_s = at_s
            with self._lock:
                self._ring()

    def flush(self, within_s: float) -> None:
        """Write all that waits; gives up when the hub does not read for so long."""
        deadline_s = monotonic() + within_s
        while self._socket is not None and monotonic() < deadline_s:
            with self._lock:
                self._write(0)
                if not self.outbox.waiting_bytes and not self._writing:
                    return
            time.sleep(0.002)

    def close(self) -> None:
        """Close the connection and end the thread. Does not wait for it."""
        self._is_closed = True
        with self._lock:
            self._ring()

    def abandon(self) -> None:
        """Let go of what a fork left: the parent's connection goes on, and is not ours."""
        self._is_closed = True
        if self._socket is not None:
            self._socket.close()
        if self._bell >= 0:
            os.close(self._bell)

    def _ring(self) -> None:
        """Wake the thread. Held: the lock, or the number might be another's by now."""
        if self._bell >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._bell, 1)

    def _write(self, messages: int) -> None:
        """Write what the socket takes. Held: the lock."""
        if self._socket is None:
            return
        while True:
            if not self._writing:
                self._writing = memoryview(self.outbox.take())
                if not self._writing:
                    break
            try:
                sent = self._socket.send(self._writing)
            except (BlockingIOError, InterruptedError):
                if not self._is_blocked:
                    self._is_blocked = True
                    self._ring()
                break
            except OSError:
                self._ring()  # the thread sees the same, and connects again
                break
            self._writing = self._writing[sent:]
        self._pace(messages)

    def _pace(self, messages: int) -> None:
        """Choose when to write next. Held: the lock."""
        now_s = monotonic()
        window_s = self.pace.note(messages, now_s)
        self._write_at_s = now_s + window_s
        gathered, self._gathers = self._gathers, window_s > 0
        # Set before the bell: the thread looks at it as soon as it wakes.
        if self._gathers and not gathered and threading.current_thread() is not self.thread:
            self._ring()

    def _run(self) -> None:
        failed = 0
        while not self._is_closed:
            try:
                connected = self._connect()
            except OSError as error:
                self.reason = f"{error.strerror or error} ({self._path})"
                failed += 1
            else:
                failed = 0 if self._converse(connected) else failed + 1
            wait_s = TRIES_AGAIN_S[min(failed, len(TRIES_AGAIN_S) - 1)]
            # Bots that lost the same supervisor would knock at the same moment.
            self._rest(wait_s * (0.75 + 0.5 * (os.getpid() % 97) / 97))
        with self._lock:
            os.close(self._bell)
            self._bell = -1

    def _rest(self, wait_s: float) -> None:
        until_s = monotonic() + wait_s
        while not self._is_closed and (left_s := until_s - monotonic()) > 0:
            self._sleeps_until_s = math.inf
            due_s = self._owner.tick(monotonic())
            self._sleeps_until_s = min(until_s, due_s or until_s)
            left_s = min(left_s, max(0.0, self._sleeps_until_s - monotonic()))
            self._wait(None, left_s)

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(CONNECT_WITHIN_S)
            connected.connect(self._path)
            connected.sendall(frame([encode(Hello(VERSION))]))
            connected.setblocking(False)
        except OSError:
            connected.close()
            raise
        return connected

    def _admitted(self, connected: socket.socket) -> None:
        """Begin to write: who is not welcome is closed, and what it had written would be lost."""
        with self._lock:
            self._is_blocked = False
            self._socket = connected
            # Asked for after the socket was set: what is subscribed to from now on says so itself.
            greeting = self._owner.greeting()
            self._writing = memoryview(frame(greeting) if greeting else b"")
            self.connects += 1
            self.reason = ""
            self._write(0)

    def _converse(self, connected: socket.socket) -> bool:
        """Read and write until the connection ends; tell whether the hub let us in."""
        splitter = Splitter(MOST_FRAME_TO_BOT_BYTES)
        try:
            while not self._is_closed:
                if not self._await(connected):
                    continue
                piece = connected.recv(READ_BYTES)  # select said that there is something
                if not piece:
                    break
                for payload in splitter.feed(piece):
                    self._take(connected, payload)
        except (OSError, BadFrame) as error:
            self.reason = str(error)
        with self._lock:
            was_in, self._socket = self._socket is not None, None
            if self._writing:  # half of a frame is nothing; what was in it counts as lost
                self.outbox.dropped += self.outbox.in_hand
                self._writing = memoryview(b"")
            self.reason = self.reason or "the supervisor closed the connection"
        connected.close()
        if was_in:
            self._owner.lost()
        return was_in

    def _take(self, connected: socket.socket, payload: memoryview) -> None:
        for envelope in decode_to_bot(payload):
            if type(envelope) is Welcome:
                self._admitted(connected)
            try:
                self._owner.received(envelope)
            except Exception:  # a callback of whoever waited; others wait too
                logger.exception("the channel failed on a %s", type(envelope).__name__)

    def _await(self, connected: socket.socket) -> bool:
        """Wait until there is something to read, doing what else is due meanwhile."""
        now_s = monotonic()
        self._sleeps_until_s = math.inf  # whatever comes up from here on rings
        due_s = self._owner.tick(now_s)
        if self._gathers:
            due_s = min(due_s or math.inf, self._write_at_s + self.pace.window_s)
        self._sleeps_until_s = due_s if due_s is not None else now_s + 3600.0
        readable, writable = self._wait(connected, max(0.0, self._sleeps_until_s - now_s))
        if writable or self._gathers:
            with self._lock:
                if writable:
                    self._is_blocked = False
                if writable or monotonic() >= self._write_at_s + self.pace.window_s:
                    self._write(self.outbox.gathered)
        # Half empty before anybody is woken, or each would find room for one message.
        if self._was_full and self.outbox.waiting_bytes < self.outbox.most_bytes // 2:
            self._was_full = False
            self._owner.has_room()
        return readable

    def _wait(self, connected: socket.socket | None, within_s: float) -> tuple[bool, bool]:
        """Wait for the socket or the bell; return whether the socket can be read, and written."""
        number = -1 if connected is None else connected.fileno()
        wants_room = self._is_blocked and connected is not None
        if max(number, self._bell) < _SELECTABLE:
            read = [self._bell] if connected is None else [self._bell, number]
            readable, writable, _ = select.select(
                read, [number] if wants_room else [], [], within_s
            )
            can_read, can_write = number in readable, bool(writable)
            rung = self._bell in readable
        else:
            poll = select.poll()
            poll.register(self._bell, select.POLLIN)
            if connected is not None:
                poll.register(number, select.POLLIN | (select.POLLOUT if wants_room else 0))
            events = dict(poll.poll(within_s * 1000))
            mask = events.get(number, 0)
            can_read, can_write = bool(mask & ~select.POLLOUT), bool(mask & select.POLLOUT)
            rung = self._bell in events
        if rung:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
        return can_read, can_write
