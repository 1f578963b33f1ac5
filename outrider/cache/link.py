"""One connection a process to Redis, which all its threads and event loops share.

::

                  submit ──► [ socket ] ──► server
    callers ──┤                  │
                  slots ◄── reader thread ◄── answers and pushes, in the order of the server

Chosen over a pool because of what the order gives. Invalidations come between the answers, exactly
where they happened; a command sent after another is executed after it, so that what was owed while
the server was away precedes whatever is asked next; and since nobody holds the connection while
waiting, a thousand waiting callers can't starve each other, nor a lock its own pool. The server can
also tell our writes from those of others (NOLOOP). The price is that a large answer holds up the
small ones behind it, and a switch of threads an answer (about 30 us).

The state, and who may call::

    connecting ─ greeted ─► up ◄── heard again ── silent
        ▲  │                │  └── overdue ──────► │
        │  └─ failed ─► away ◄── lost ─────────────┘ after SILENT_S
        └── back-off ───┘

*silent* is a server that let one caller wait for its whole limit: from then on nobody asks, but the
connection stays, and with it the certainty that no invalidation was missed, until it has been quiet
for ``SILENT_S``. A half-open connection ends the same way, noticed by a ping. Callers wait for the
first connection, and for the one try that follows a loss at once; never for later ones.

Only the thread reads; whoever calls writes, as far as the socket takes it without waiting, and the
thread writes the rest. Nothing here blocks a caller.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import ssl
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from outrider.cache.breaker import Breaker
from outrider.cache.slot import AWAY, Mark, Slot
from outrider.errors import RedisRefused
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

# A first call to a frozen server is to cost at most 50 ms; a healthy one answers in under 1 ms.
TIMEOUT_S = 0.04
CONNECT_S = 0.5
PING_S = 0.5
SILENT_S = 1.0
TICK_S = 0.5
_PIECE = 65_536

logger = logging.getLogger(__name__)
_PROBLEMS = (redis.RedisError, OSError, hiredis.HiredisError)


class Session(Protocol):
    """What a link serves. All of it is called in the link's thread."""

    def greet(self) -> None:
        """Submit what a connection begins with; the answer to the last of it calls ``ready``."""
        ...

    def returned(self) -> None:
        """Send what is owed, and let callers in by setting ``is_up``, in one step for them."""
        ...

    def pushed(self, push: list[Any]) -> None:
        """Take what the server says unasked."""
        ...

    def lost(self, unanswered: list[Slot]) -> None:
        """Distrust what is kept: invalidations may be missed from here on."""
        ...

    def ticked(self) -> None:
        """Do what is to be done now and then while the server answers."""
        ...

    def forked(self) -> None:
        """Begin anew in a child, where any lock may be held by a thread that is not there."""
        ...


def pack(*command: Any) -> bytes:
    """Return a command as Redis' protocol has it."""
    packed: bytes = hiredis.pack_command(command)
    return packed


class Link:
    """A connection that looks after itself. Starts with its first use; raises nothing then.

    Raises:
        RedisRefused: the address is none.
    """

    def __init__(
        self,
        url: str,
        session: Session,
        *,
        breaker: Breaker | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.breaker = breaker or Breaker()
        self.timeout_s = timeout_s
        self.shown = connection.without_password(url)
        self.is_up = False
        self.connections = 0
        self._session = session
        try:
            self._pool = redis.ConnectionPool.from_url(
                url,
                protocol=3,
                socket_timeout=CONNECT_S,
                socket_connect_timeout=CONNECT_S,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise RedisRefused(
                f"OUTRIDER_REDIS_URL = {self.shown!r} is no Redis address ({error}); "
                "write it like redis://host:6379/0, or unset it to cache in memory only."
            ) from None
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        """Have no connection and no thread, as at the start and in a forked child."""
        self.is_up = False
        self.is_trying = True  # worth waiting for
        self._lock = threading.RLock()
        self._connection: Any = None
        self._socket: Any = None
        self._slots: deque[Slot] = deque()
        self._unsent = bytearray()
        self._asked_s = 0.0  # since when an answer is due
        self._heard_s = 0.0
        self._ticked_s = 0.0
        self._greeted = False
        self._awaiting: list[Slot] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._alarm = -1

    def start(self) -> None:
        """Begin to connect, if that was not done. Returns at once."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed:
                self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._thread = threading.Thread(target=self._run, name="outrider-link", daemon=True)
                self._thread.start()

    def trying(self) -> Slot:
        """Return what is filled when the present try to connect has ended."""
        self.start()
        with self._lock:
            mine = Slot(self.timeout_s, self.overdue)
            if self.is_up or not self.is_trying:
                mine.fill(True)
            else:
                self._awaiting.append(mine)
            return mine

    def submit(self, payload: bytes, slots: Sequence[Slot]) -> bool:
        """Send commands, of which the n-th answer fills the n-th slot. False: not connected."""
        with self._lock:
            sock = self._socket
            if sock is None:
                return False
            if not self._slots:
                self._asked_s = time.monotonic()
            self._slots.extend(slots)
            if self._unsent:
                self._unsent += payload
                return True
            sent = _send(sock, payload)
            if sent < len(payload):
                self._unsent += memoryview(payload)[sent:]
                self._ring()
            return True

    def overdue(self) -> None:
        """Note that a caller has waited in vain: the next does not wait."""
        self.is_trying = False
        with self._lock:
            if not self.is_up and self.breaker.is_open:
                return
            self.is_up = False
            if self.breaker.failed():
                logger.warning(
                    "cache: Redis at %s does not answer; falling back to memory", self.shown
                )
        self._ring()

    def close(self) -> None:
        """End the thread and the connection. What waits is told that the server is away."""
        self._closed = True
        self._ring()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)

    def begin_again(self) -> None:
        """Begin anew in a forked child; the parent goes on using the connection."""
        inherited, alarm = self._socket, self._alarm
        self._begin()
        if alarm >= 0:
            os.close(alarm)
        if inherited is not None:
            with contextlib.suppress(OSError):
                os.close(inherited.detach())  # close() of redis-py would shut the parent's down too
        self._session.forked()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._connect()
            except _PROBLEMS as error:
                self._failed(error)
                self._sleep(self.breaker.retry_in_s())
                continue
            try:
                self._serve()
            except _PROBLEMS as error:
                logger.info("cache: the connection to Redis at %s ended (%s)", self.shown, error)
            finally:
                self._lose()
        self._failed(None)
        alarm, self._alarm = self._alarm, -1
        os.close(alarm)

    def _connect(self) -> None:
        made: Any = self._pool.make_connection()
        try:
            made.connect()
        except BaseException:
            made.disconnect()
            raise
        sock = made._sock  # noqa: SLF001 - shared from here on, which redis-py has no word for
        sock.setblocking(False)
        with self._lock:
            self._connection, self._socket = made, sock
            self._heard_s = time.monotonic()
            self.connections += 1
            self._greeted = False
        self._session.greet()

    def ready(self) -> None:
        """Let callers in: the connection's first commands were answered."""
        self._greeted = True
        self._up()

    def _up(self) -> None:
        self._session.returned()
        with self._lock:
            if self.breaker.succeeded():
                logger.info("cache: Redis at %s answers again", self.shown)
        self._end_of_try()

    def _failed(self, error: BaseException | None) -> None:
        if self.breaker.failed() and error is not None:
            logger.warning(
                "cache: Redis at %s does not answer (%s); falling back to memory",
                self.shown,
                error,
            )
        self._end_of_try()

    def _end_of_try(self) -> None:
        with self._lock:
            self.is_trying = False
            awaiting, self._awaiting = self._awaiting, []
        for slot in awaiting:
            slot.fill(True)

    def _serve(self) -> None:
        reader = hiredis.Reader(notEnoughData=_NOTHING)
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        while not self._closed:
            interest = select.POLLIN | (select.POLLOUT if self._unsent else 0)
            poller.register(self._socket, interest)
            for ready, _ in poller.poll(self._next_look_s() * 1000):
                if ready == self._alarm:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._alarm)
                else:
                    self._send_rest()
                    self._read(reader)
            self._watch()

    def _read(self, reader: Any) -> None:
        while data := self._receive():
            reader.feed(data)
            self._heard_s = time.monotonic()
            while (answer := reader.gets()) is not _NOTHING:
                if type(answer) is hiredis.PushNotification:
                    self._session.pushed(answer)
                else:
                    self._answered(answer)
            if self._greeted and not self.is_up:
                self._up()
            if len(data) < _PIECE and not isinstance(self._socket, ssl.SSLSocket):
                return

    def _answered(self, answer: Any) -> None:
        first = self._slots[0]
        if isinstance(first, Mark) and isinstance(answer, hiredis.ReplyError):
            first.refused(answer)
        else:
            self._slots.popleft()
            first.fill(answer)

    def _receive(self) -> bytes:
        # A TLS socket must not be read while another thread writes to it.
        with self._lock if isinstance(self._socket, ssl.SSLSocket) else contextlib.nullcontext():
            try:
                data: bytes = self._socket.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return b""
        if not data:
            raise redis.ConnectionError("it was closed by the server")
        return data

    def _send_rest(self) -> None:
        with self._lock:
            if self._unsent:
                del self._unsent[: _send(self._socket, self._unsent)]

    def _next_look_s(self) -> float:
        now_s = time.monotonic()
        if self._slots:
            left_s = SILENT_S - (now_s - max(self._heard_s, self._asked_s))
        else:
            left_s = PING_S - (now_s - self._heard_s)
        return max(0.001, left_s)

    def _watch(self) -> None:
        """Ask after a quiet server, and give up one that owes an answer for too long."""
        now_s = time.monotonic()
        if self._slots:
            if now_s - max(self._heard_s, self._asked_s) >= SILENT_S:
                raise redis.TimeoutError(f"it was silent for {SILENT_S:g} s")
        elif not self.is_up or now_s - self._heard_s >= PING_S:
            self.submit(_PING, [Slot(SILENT_S)])
        if self.is_up and now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            self._session.ticked()

    def _lose(self) -> None:
        with self._lock:
            made, self._connection, self._socket = self._connection, None, None
            unanswered = list(self._slots)
            self._slots.clear()
            self._unsent.clear()
            # Lost out of the blue, it may be back at once: worth waiting for one try.
            self.is_trying = self.is_up and not self._closed
            self.is_up = False
        self._session.lost(unanswered)
        for slot in unanswered:
            slot.fill(AWAY)
        made.disconnect()

    def _sleep(self, seconds: float) -> None:
        select.select([self._alarm], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._alarm)

    def _ring(self) -> None:
        if self._alarm >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._alarm, 1)


_NOTHING = object()
_PING = pack("PING")
_ALL: weakref.WeakSet[Link] = weakref.WeakSet()


def _send(sock: Any, data: bytes | bytearray) -> int:
    """Send what the socket takes at once. Return how much; an error is left to the reader."""
    try:
        return int(sock.send(data))
    except OSError:  # would block, or is broken, which the reader sees as well
        return 0


def _in_child() -> None:
    for link in list(_ALL):
        link.begin_again()


os.register_at_fork(after_in_child=_in_child)
