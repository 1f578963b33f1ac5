"""A bot's own voice: counters, gauges, timings, readiness and a heartbeat.

Numbers are kept in this process and sent once a second in one datagram to the supervisor, or to
Redis when nobody supervises us. Sending never blocks the bot and never raises: totals are sent, so
what could not be delivered is in the next frame, and the number of lost frames is counted.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

FLUSH_S = 1.0
MOST_NAMES = 200
# Keeps what is behind a name bounded when a bot puts user input into it.
OVERFLOW = "overflow"


class Transport(Protocol):
    """Takes an encoded frame. Returns False when it could not be handed over."""

    def __call__(self, message: bytes) -> bool:
        """Send without blocking."""
        ...


class Bot:
    """One bot process. Cheap to make; a process needs one, and gets the same one again by name.

    The name is given by the supervisor (``OUTRIDER_BOT``), or as argument when nobody supervises.
    Usable from threads and from asyncio, and safe after a fork.
    """

    def __init__(self, name: str | None = None, *, transport: Transport | None = None) -> None:
        self.name = os.environ.get("OUTRIDER_BOT") or name or "bot"
        self._send = transport or _transport(self.name)
        self._lock = threading.Lock()
        self._counters: dict[str, float] = {}
        self._gauges: dict[str, float] = {}
        self._timings: dict[str, list[float]] = {}
        self._sources: list[Callable[[], Mapping[str, float]]] = []
        self._ready = False
        self._lag: _LoopLag | None = None
        self.dropped = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()
        _CURRENT.append(self)
        self._start()

    def ready(self) -> None:
        """Tell the supervisor that this bot does its work from now on. Safe to repeat."""
        self._ready = True
        with contextlib.suppress(RuntimeError):
            self._lag = self._lag or _LoopLag(asyncio.get_running_loop())
        self.flush()

    def count(self, name: str, by: float = 1) -> None:
        """Add to a counter, which only ever grows."""
        with self._lock:
            if name not in self._counters:
                name = _bounded(name, self._counters)
            self._counters[name] = self._counters.get(name, 0) + by

    def gauge(self, name: str, value: float) -> None:
        """Set the present value of something."""
        with self._lock:
            self._gauges[name if name in self._gauges else _bounded(name, self._gauges)] = value

    def observe(self, name: str, seconds: float) -> None:
        """Add one duration to a timing."""
        with self._lock:
            if name not in self._timings:
                name = _bounded(name, self._timings)
            kept = self._timings.setdefault(name, [0, 0.0, 0.0])
            kept[0] += 1
            kept[1] += seconds
            kept[2] = max(kept[2], seconds)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a block, also across ``await``; one that raises counts in ``NAME.errors`` too."""
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            self.count(f"{name}.errors")
            raise
        finally:
            self.observe(name, time.perf_counter() - start)

    def add_source(self, source: Callable[[], Mapping[str, float]]) -> None:
        """Ask ``source`` for gauges before each frame; pools and caches report this way."""
        self._sources.append(source)

    def flush(self) -> None:
        """Send a frame now. Does not wait for an answer and does not raise."""
        from outrider.metrics import frame

        sources: dict[str, float] = {}
        for source in self._sources:
            with contextlib.suppress(Exception):  # a broken source must not silence the rest
                sources.update(source())
        with self._lock:
            message = frame.encode(
                frame.Frame(
                    bot=self.name,
                    pid=os.getpid(),
                    at_s=time.time(),
                    ready=self._ready,
                    loop_lag_s=self._lag.worst() if self._lag else None,
                    counters=self._counters,
                    gauges=self._gauges | sources,
                    timings={
                        name: (int(count), total, longest)
                        for name, (count, total, longest) in self._timings.items()
                    },
                    dropped=self.dropped,
                )
            )
            for kept in self._timings.values():
                kept[2] = 0.0
        if not self._send(message):
            self.dropped += 1

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="outrider-flush", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        owner = os.getpid()
        while not self._wake.wait(FLUSH_S) and os.getpid() == owner:
            self.flush()

    def _after_fork(self) -> None:
        """Begin anew in a child: its numbers are its own, and threads do not survive a fork."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._counters, self._gauges, self._timings = {}, {}, {}
        self._ready, self._lag, self.dropped = False, None, 0
        self.name = os.environ.get("OUTRIDER_BOT") or self.name
        self._send = _transport(self.name)
        self._owner = os.getpid()
        self._start()


_CURRENT: list[Bot] = []


def current() -> Bot | None:
    """Return the bot of this process, or None before one was made."""
    return _CURRENT[-1] if _CURRENT else None


def announce(name: str) -> None:
    """Tell the supervisor once that this process is ready, without keeping a Bot."""
    from outrider.metrics import frame

    path = os.environ.get("OUTRIDER_TELEMETRY")
    if path:  # nobody else waits for it: in Redis it would look like a bot
        name = os.environ.get("OUTRIDER_BOT") or name
        _Datagram(path)(frame.encode(frame.Frame(name, os.getpid(), time.time(), ready=True)))


class _LoopLag:
    """How late an event loop runs what is due: a sleeping loop is on time, a blocked one is not."""

    PERIOD_S = 0.25

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._worst = 0.0
        self._due = loop.time() + self.PERIOD_S
        loop.call_later(self.PERIOD_S, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        self._worst = max(self._worst, now - self._due)
        self._due = now + self.PERIOD_S
        self._loop.call_later(self.PERIOD_S, self._tick)

    def worst(self) -> float:
        """Return the worst lateness in seconds since the last call; a hanging loop is late."""
        worst = max(self._worst, self._loop.time() - self._due) if not self._loop.is_closed() else 0
        self._worst = 0.0
        return max(0.0, worst)


def _bounded(name: str, kept: Mapping[str, Any]) -> str:
    return name if len(kept) < MOST_NAMES else OVERFLOW


def _transport(name: str) -> Transport:
    path = os.environ.get("OUTRIDER_TELEMETRY")
    if path:
        return _Datagram(path)
    url = os.environ.get("OUTRIDER_REDIS_URL")
    return _ToRedis(url, name) if url else lambda _message: False


class _Datagram:
    """Sends to the supervisor's socket. Opened anew when the supervisor was replaced."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: Any = None

    def __call__(self, message: bytes) -> bool:
        import socket

        for _ in range(2):
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                    self._socket.connect(self._path)
                self._socket.send(message)
            except BlockingIOError:
                return False
            except OSError:
                if self._socket is not None:
                    self._socket.close()
                self._socket = None
            else:
                return True
        return False


class _ToRedis:
    """Leaves the frame in Redis, where the collector of this host finds it."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Any = None

    def __call__(self, message: bytes) -> bool:
        import socket

        import redis

        from outrider.store import connection, keys

        try:
            self._client = self._client or connection.connect(self._url, timeout_s=0.5)
            host = os.environ.get("OUTRIDER_HOST") or socket.gethostname().split(".")[0].lower()
            self._client.hset(keys.frames(host), self._name, message)
        except redis.RedisError:
            return False
        return True


def _in_child() -> None:
    for bot in _CURRENT:
        bot._after_fork()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _last_words() -> None:
    """Send what was counted since the last frame; the supervisor may be gone already."""
    if sys.is_finalizing():
        return
    for bot in _CURRENT:
        bot.flush()
