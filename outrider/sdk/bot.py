"""A bot's own voice: counters, gauges, timings, readiness and a heartbeat.

Numbers are kept in this process and sent once a second in one datagram to the supervisor, or to
Redis when nobody supervises us. Sending never blocks the bot and never raises: totals are sent, so
what could not be delivered is in the next frame; the frame itself waits in a ring until somebody
takes it, and what falls out of the ring is counted.

A bot's start must stay cheap: what costs milliseconds (asyncio, msgspec, sockets, re, typing) is
imported by the sending thread, or when it is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time

from outrider.sdk.instruments import Counter, Timer
from outrider.sdk.lag import LoopLag
from outrider.sdk.ring import Ring
from outrider.sdk.timed import Block

TYPE_CHECKING = False  # see outrider.sdk.instruments
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self, TypeVar

    from outrider.sdk.channel import Channel
    from outrider.sdk.transports import Transport

    T = TypeVar("T")
    Timing = tuple[int, float, float, dict[int, int]]

FLUSH_S = 1.0
# A kernel queues ten datagrams a socket (net.unix.max_dgram_qlen), fewer than a fleet has bots: the
# sending thread waits for room and tries again. Nothing that the bot calls does.
ROOM_WITHIN_S = 0.5
TRIES = 4
# Whoever asks for a frame waits so long for one that is being sent: Redis may not answer.
SENDING_WITHIN_S = 1.0
MOST_NAMES = 200
# Keep what is behind a name, and the name, bounded when a bot puts user input into it.
LONGEST_NAME = 64
LONGEST_BOT_NAME = 63
OVERFLOW = "overflow"


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
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, float] = {}
        self._timers: dict[str, Timer] = {}
        self._sources: list[Callable[[], Mapping[str, float]]] = []
        self._channel: Channel | None = None
        self._timings: list[Callable[[], Mapping[str, Timing]]] = []
        self._begin()
        _CURRENT.append(self)

    def _begin(self) -> None:
        """Begin with nothing said: at the start, and again in a child."""
        self._since_s = time.time()
        # A signal handler may count what the code that it interrupted is counting.
        self._naming = threading.RLock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ready = False
        self._lag: LoopLag | None = None
        self._late = Timer(Counter)
        self._ring = Ring()
        self._frames = self._delivered = self._lost = 0
        self._send: Transport | None = self._given or _transport(self.name)
        if self._send:
            self._start()

    @property
    def dropped(self) -> int:
        """How many frames nobody will ever get."""
        return self._lost + self._ring.dropped

    @property
    def missed(self) -> int:
        """How many frames wait for somebody to take them."""
        return len(self._ring)

    @property
    def channel(self) -> Channel:
        """The channel to the supervisor and to its other bots; opened when first used."""
        with self._naming:
            if self._channel is None:
                from outrider.sdk import channel

                self._channel = channel.of_process()
                self.add_source(self._channel.figures)
            return self._channel

    def ready(self) -> None:
        """Tell the supervisor that this bot does its work from now on. Safe to repeat.

        The first time it is told at once where that costs microseconds: to the supervisor's socket,
        by a process that has the encoder. The sending thread might have to wait for us.
        """
        news, self._ready = not self._ready, True
        asyncio = sys.modules.get("asyncio")  # where nobody imported it, no loop runs
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop() if asyncio else None
            if loop and (self._lag is None or not self._lag.watches(loop)):
                self._lag = LoopLag(loop, self._late)
        at_once = hasattr(self._send, "wait_for_room") and "outrider.metrics.frame" in sys.modules
        if not (news and at_once and self._post(tries=1)):
            self._wake.set()
        while news and AT_READY:
            AT_READY.pop()()

    def count(self, name: str, by: float = 1) -> None:
        """Add to a counter, which only ever grows.

        What is negative or not finite is not added; ``refused_total`` counts it.

        Raises:
            TypeError: ``by`` is no number.
        """
        try:
            counter = self._counters[name]
        except (KeyError, TypeError):
            counter = self._counter(name)
        counter.add(by)

    def gauge(self, name: str, value: float) -> None:
        """Set the present value of something.

        Raises:
            TypeError: ``value`` is no number.
        """
        number = float(value)
        with self._naming:
            self._gauges[_bounded(name, self._gauges)] = number

    def observe(self, name: str, seconds: float) -> None:
        """Add one duration to a timing; each is kept within one per cent.

        What is not finite is not added; ``refused_total`` counts it.

        Raises:
            TypeError: ``seconds`` is no number.
        """
        try:
            timer = self._timers[name]
        except (KeyError, TypeError):
            timer = self._timer(name)
        timer.observe(seconds)

    def timed(self, name: str) -> Block:
        """Time a block, also across ``await``; one that raises counts in ``NAME.errors`` too.

        As a decorator it times each call of a function, ``def`` and ``async def`` alike.
        """
        try:
            return Block(self._timers[name])
        except (KeyError, TypeError):
            return Block(self._timer(name))

    def counter(self, name: str) -> Counter:
        """Return a counter to keep at hand, for what is counted very often.

        It is told from now on, be it 0, and is as safe as :meth:`count`.
        """
        return self._counter(name).hold()

    def timer(self, name: str) -> Timer:
        """Return a timer to keep at hand, for what is done very often; see :meth:`counter`."""
        return self._timer(name).hold()

    def add_source(self, source: Callable[[], Mapping[str, float]]) -> None:
        """Ask ``source`` for gauges before each frame; pools and caches report this way."""
        self._sources.append(source)

    def add_timings(self, source: Callable[[], Mapping[str, Timing]]) -> None:
        """Ask ``source`` for histograms before each frame, for those who keep their own.

        Each is count, sum, the longest since it was last asked, and buckets of ``outrider.sketch``.
        """
        self._timings.append(source)

    def instrument(self, thing: T) -> T:
        """Measure a framework, client, engine or app for this bot; see ``outrider.instrument``."""
        from outrider.sdk.instrument import instrument

        return instrument(thing, bot=self)

    def flush(self) -> None:
        """Send a frame now. Waits at most for one that is being sent, and does not raise."""
        self._post(tries=1)

    def _counter(self, name: object) -> Counter:
        with self._naming:
            known = _bounded(name, self._counters)
            if known not in self._counters:
                self._counters[known] = Counter()
            return self._counters[known]

    def _timer(self, name: object) -> Timer:
        with self._naming:
            known = _bounded(name, self._timers)
            if known not in self._timers:
                self._timers[known] = Timer(lambda: self._counter(f"{known}.errors"))
            return self._timers[known]

    def _post(self, *, tries: int) -> bool:
        """Send a frame; between tries wait for room, holding no lock that the bot might want."""
        frame = self._exclusively(self._next) if self._send else None
        if frame is None:
            self._lost += 1
            return False
        for left in reversed(range(tries)):
            if self._exclusively(lambda: self._deliver(*frame)):
                return True
            room = getattr(self._send, "wait_for_room", None)
            if not left or room is None or not room(ROOM_WITHIN_S):
                break
        self._exclusively(lambda: self._ring.keep(*frame))
        return False

    def _exclusively(self, do: Callable[[], T]) -> T | None:
        """Return what ``do`` returns; None when it fails, or when somebody sends for long."""
        if not self._sending.acquire(timeout=SENDING_WITHIN_S):
            return None
        try:
            return do()
        except Exception:  # noqa: BLE001 - whatever a transport does, the bot goes on
            return None
        finally:
            self._sending.release()

    def _deliver(self, number: int, message: bytes) -> bool:
        """Send a frame, and after it what nobody took before: no total waits for older ones."""
        assert self._send is not None
        if number < self._delivered or not self._send(message):
            return False
        self._delivered = number
        self._ring.hand_over(getattr(self._send, "missed", self._send))
        return True

    def _next(self) -> tuple[int, bytes]:
        """Return the next frame's number, and the frame."""
        from outrider.metrics import frame as frames

        at_s = time.time()
        sources: dict[str, float] = {}
        for source in self._sources:
            with contextlib.suppress(Exception):  # a broken source must not silence the rest
                sources |= {_clean(name): float(value) for name, value in source().items()}
        with self._naming:
            counters, timers = list(self._counters.items()), list(self._timers.items())
            gauges = self._gauges | sources
        totals = {name: counter.total() for name, counter in counters}
        states = {name: timer.state() for name, timer in timers}
        for told in self._timings:
            with contextlib.suppress(Exception):  # as above
                states |= told()
        shown = {name for name, instrument in counters if instrument.shown}
        timed = states.keys() - {name for name, instrument in timers if not instrument.shown}
        self._frames += 1
        frame = frames.Frame(
            bot=self.name,
            pid=os.getpid(),
            at_s=at_s,
            since_s=self._since_s,
            number=self._frames,
            ready=self._ready,
            loop_lag_s=self._lag.worst() if self._lag else None,
            lag=self._late.state()[3],
            counters={name: total for name, total in totals.items() if name in shown},
            gauges=gauges,
            timings={name: state[:3] for name, state in states.items() if name in timed},
            buckets={name: state[3] for name, state in states.items() if state[3]},
            dropped=self.dropped,
            refused=sum(each.refused for _, each in counters)
            + sum(each.refused for _, each in timers),
        )
        return self._frames, frames.encode(frame)

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
        self.name = os.environ.get("OUTRIDER_BOT") or self.name
        self._gauges = {}
        self._counters = {name: each for name, each in self._counters.items() if each.held}
        self._timers = {name: each for name, each in self._timers.items() if each.held}
        for counter in self._counters.values():
            counter.begin_anew()
        for timer in self._timers.values():
            timer.begin_anew()
        self._begin()


_CURRENT: list[Bot] = []
# Called once, after the first bot of this process has said that it is ready.
AT_READY: list[Callable[[], None]] = []


def current() -> Bot | None:
    """Return the bot of this process, or None before one was made."""
    return _CURRENT[-1] if _CURRENT else None


def announce(name: str) -> None:
    """Tell the supervisor once that this process is ready, without keeping a Bot."""
    path = os.environ.get("OUTRIDER_TELEMETRY")
    if path:  # nobody else waits for it: in Redis it would look like a bot
        from outrider.metrics import frame
        from outrider.sdk.transports import Datagram

        name = os.environ.get("OUTRIDER_BOT") or name
        socket = Datagram(path)
        socket(frame.encode(frame.Frame(name, os.getpid(), time.time(), ready=True)))
        socket.close()


def _named(name: str | None) -> str:
    name = os.environ.get("OUTRIDER_BOT") or name or "bot"
    # As samples.BOT_NAME says; the pattern's module would cost every start five milliseconds.
    plain = name.replace("-", "").replace("_", "")
    if name[0] in "-_" or len(name) > LONGEST_BOT_NAME or not (plain.isascii() and plain.isalnum()):
        from outrider.errors import BadArgument
        from outrider.samples import BOT_NAME

        raise BadArgument(f"a bot can't be called {name!r}; its name must match {BOT_NAME}.")
    return name


def _bounded(name: object, kept: Mapping[str, Any]) -> str:
    """Return the name under which something is kept: as given, made fit, or one for all others."""
    name = _clean(name)
    return name if name in kept or len(kept) < MOST_NAMES else OVERFLOW


def _clean(name: object) -> str:
    """Return a name that any frame can hold and any page show."""
    shown = str(name)[:LONGEST_NAME]
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def _transport(name: str) -> Transport | None:
    path = os.environ.get("OUTRIDER_TELEMETRY")
    url = os.environ.get("OUTRIDER_REDIS_URL")
    if not path and not url:
        return None
    from outrider.sdk import transports

    return transports.Datagram(path) if path else transports.ToRedis(url or "", name)


def begin_anew() -> None:
    """Let the bots of a fork begin as its own; again when its environment was changed since."""
    for bot in _CURRENT:
        bot._after_fork()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=begin_anew)


@atexit.register
def _last_words() -> None:
    """Send what was counted since the last frame; the supervisor may be gone already."""
    if sys.is_finalizing():
        return
    for bot in _CURRENT:
        bot.flush()
