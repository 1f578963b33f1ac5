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
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from outrider.errors import BadArgument
from outrider.samples import BOT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")
FLUSH_S = 1.0
# A kernel queues ten datagrams a socket (net.unix.max_dgram_qlen), fewer than a fleet has bots: the
# sending thread waits for room and tries again. Nothing that the bot calls does.
ROOM_WITHIN_S = 0.5
TRIES = 4
MOST_NAMES = 200
# Keep what is behind a name, and the name, bounded when a bot puts user input into it.
LONGEST_NAME = 64
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

    Raises:
        BadArgument: a bot can't have that name.
    """

    def __new__(cls, name: str | None = None, *, transport: Transport | None = None) -> Self:
        """Return the bot that has the name already: two would talk over each other."""
        same = (bot for bot in _CURRENT if bot.name == _named(name) and isinstance(bot, cls))
        known = None if transport else next(same, None)
        return known or super().__new__(cls)

    def __init__(self, name: str | None = None, *, transport: Transport | None = None) -> None:
        if self in _CURRENT:
            return
        self.name = _named(name)
        self._given = transport
        self._send = transport or _transport(self.name)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._counters: dict[str, float] = {}
        self._gauges: dict[str, float] = {}
        self._timings: dict[str, list[float]] = {}
        self._sources: list[Callable[[], Mapping[str, float]]] = []
        self._ready = False
        self._lag: _LoopLag | None = None
        self.dropped = 0
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        _CURRENT.append(self)
        self._start()

    def ready(self) -> None:
        """Tell the supervisor that this bot does its work from now on. Safe to repeat."""
        self._ready = True
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            if self._lag is None or not self._lag.watches(loop):
                self._lag = _LoopLag(loop)
        self._wake.set()

    def count(self, name: str, by: float = 1) -> None:
        """Add to a counter, which only ever grows."""
        with self._lock:
            name = _bounded(name, self._counters)
            self._counters[name] = self._counters.get(name, 0.0) + float(by)

    def gauge(self, name: str, value: float) -> None:
        """Set the present value of something."""
        with self._lock:
            self._gauges[_bounded(name, self._gauges)] = float(value)

    def observe(self, name: str, seconds: float) -> None:
        """Add one duration to a timing."""
        took_s = float(seconds)
        with self._lock:
            kept = self._timings.setdefault(_bounded(name, self._timings), [0, 0.0, 0.0])
            kept[0] += 1
            kept[1] += took_s
            kept[2] = max(kept[2], took_s)

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

    def instrument(self, thing: T) -> T:
        """Measure a framework, client, engine or app for this bot; see ``outrider.instrument``."""
        from outrider.sdk.instrument import instrument

        return instrument(thing, bot=self)

    def flush(self) -> None:
        """Send a frame now. Does not wait and does not raise."""
        self._post(tries=1)

    def _post(self, *, tries: int) -> None:
        """Send a frame; between tries wait for room, holding no lock that the bot might want."""
        with self._sending:
            message = self._message()
        for left in reversed(range(tries)):
            with self._sending:
                if self._sent(message):
                    return
            room = getattr(self._send, "wait_for_room", None)
            if not left or room is None or not room(ROOM_WITHIN_S):
                break
        self.dropped += 1

    def _sent(self, message: bytes) -> bool:
        from outrider.metrics import frame

        # Whatever a transport does, the bot goes on; the loss is counted.
        with contextlib.suppress(Exception):
            return len(message) <= frame.MOST_BYTES and self._send(message)
        return False

    def _message(self) -> bytes:
        from outrider.metrics import frame

        sources: dict[str, float] = {}
        for source in self._sources:
            with contextlib.suppress(Exception):  # a broken source must not silence the rest
                sources |= {_clean(name): float(value) for name, value in source().items()}
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
        return message

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="outrider-flush", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            # Bots that were started together would speak together; a clock's last digits part them.
            self._wake.wait(FLUSH_S * (0.8 + 0.4 * (time.perf_counter_ns() % 1009) / 1009))
            self._wake.clear()
            self._post(tries=TRIES)

    def _after_fork(self) -> None:
        """Begin anew in a child: its numbers are its own, and threads do not survive a fork."""
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._wake = threading.Event()
        self._counters, self._gauges, self._timings = {}, {}, {}
        self._ready, self._lag, self.dropped = False, None, 0
        self.name = os.environ.get("OUTRIDER_BOT") or self.name
        self._send = self._given or _transport(self.name)
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
        socket = _Datagram(path)
        socket(frame.encode(frame.Frame(name, os.getpid(), time.time(), ready=True)))
        socket.close()


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

    def watches(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether it is this loop that is watched; a bot may run one after another."""
        return self._loop is loop

    def worst(self) -> float:
        """Return the worst lateness in seconds since the last call; a hanging loop is late."""
        worst = max(self._worst, self._loop.time() - self._due) if not self._loop.is_closed() else 0
        self._worst = 0.0
        return max(0.0, worst)


def _named(name: str | None) -> str:
    name = os.environ.get("OUTRIDER_BOT") or name or "bot"
    if not re.fullmatch(BOT_NAME, name):
        raise BadArgument(f"a bot can't be called {name!r}; its name must match {BOT_NAME}.")
    return name


def _bounded(name: str, kept: Mapping[str, Any]) -> str:
    if name in kept:
        return name
    name = _clean(name)
    return name if name in kept or len(kept) < MOST_NAMES else OVERFLOW


def _clean(name: object) -> str:
    """Return a name that any frame can hold and any page show."""
    shown = str(name)[:LONGEST_NAME]
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


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
                self.close()
            else:
                return True
        return False

    def wait_for_room(self, within_s: float) -> bool:
        """Wait until the supervisor's queue has room again. False: it had none, or is gone."""
        import select

        poll = select.poll()  # select.select takes no descriptor above 1023
        try:
            poll.register(self._socket, select.POLLOUT)
        except (TypeError, ValueError):  # there is none, or it was closed just now
            return False
        return bool(poll.poll(within_s * 1000))

    def close(self) -> None:
        """Close the socket; the next frame opens it anew."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


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
