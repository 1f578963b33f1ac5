r"""Runs what a bot has for the channel: subscribers and served functions, plain and async.

===================  ==========================  ===========================
\                     registered inside a loop    registered elsewhere
===================  ==========================  ===========================
subscriber, def      in that loop                in the channel's own thread
subscriber, async    in that loop, one by one    refused
served, def          in a thread                 in a thread
served, async        in that loop                in a thread, in a loop of its own
===================  ==========================  ===========================

A loop that does not keep up has at most ``MOST_PENDING`` messages before it; beyond, they are
dropped and counted. What a function raises ends neither the thread nor the connection.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from outrider.channel import problems
from outrider.channel.envelopes import Reply, decode_bodies, decode_body, encode, encode_body
from outrider.errors import BadArgument
from outrider.sdk.workers import Workers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from outrider.channel.envelopes import Call, Deliver

    Function = Callable[[Any, str], Any]

MOST_PENDING = 20_000
AT_ONCE = 4
ASYNC_AT_ONCE = 64
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Subscriber:
    """A function for the messages of a topic, and what waits for its loop."""

    topic: str
    function: Function
    loop: asyncio.AbstractEventLoop | None
    is_async: bool
    pending: deque[tuple[list[Any], str]] = field(default_factory=deque)
    pending_messages: int = 0
    pump: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Served:
    """A function for requests."""

    name: str
    function: Function
    loop: asyncio.AbstractEventLoop | None
    is_async: bool
    at_once: int
    only: str
    workers: Workers | None


class Handlers:
    """Keeps the functions of one channel; ``reply(call's id, envelope)`` sends answers."""

    def __init__(self, reply: Callable[[Reply], None]) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.served: dict[str, Served] = {}
        self.running = 0
        self.received = self.dropped = self.failures = 0
        self._reply = reply
        self._counting = threading.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(self, topic: str, function: Function) -> None:
        """Keep a subscriber. Raises BadArgument when it is async and no loop runs here."""
        loop, is_async = running_loop(), inspect.iscoroutinefunction(function)
        if is_async and loop is None:
            raise BadArgument(
                f"an async subscriber of {topic!r} needs a loop to run in: subscribe inside it, "
                "or give a plain function."
            )
        self.subscribers[topic] = Subscriber(topic, function, loop, is_async)

    def serve(self, name: str, function: Function, *, at_once: int | None, only: str) -> Served:
        """Keep a served function."""
        loop, is_async = running_loop(), inspect.iscoroutinefunction(function)
        most = at_once or (ASYNC_AT_ONCE if is_async and loop else AT_ONCE)
        workers = None if is_async and loop else Workers(most)
        served = Served(name, function, loop, is_async, most, only, workers)
        self.served[name] = served
        return served

    def deliver(self, said: Deliver) -> None:
        """Pass publications on to their subscriber."""
        subscriber = self.subscribers.get(said.topic)
        if subscriber is None:
            return
        try:
            bodies = decode_bodies(said.bodies)
        except (ValueError, RecursionError):
            self._failed("a message of %s can't be read", said.topic)
            return
        self.received += len(bodies)
        if subscriber.loop is None:
            self._run(subscriber, bodies, said.sender)
            return
        if subscriber.pending_messages + len(bodies) > MOST_PENDING:
            self.dropped += len(bodies)
            return
        subscriber.pending_messages += len(bodies)
        subscriber.pending.append((bodies, said.sender))
        self._in_loop(subscriber.loop, functools.partial(self._drain, subscriber))

    def call(self, call: Call) -> None:
        """Answer a request; the answer follows when there is one."""
        served = self.served.get(call.name)
        if served is None:
            self._answer(call, problems.REFUSED, f"{call.name!r} is served no more.")
            return
        self._count(1)
        if served.workers is None:
            assert served.loop is not None
            if not self._in_loop(served.loop, functools.partial(self._start, served, call)):
                self._done(call, problems.REFUSED, "its loop has ended.")
        else:
            served.workers.submit(functools.partial(self._work, served, call))

    def _run(self, subscriber: Subscriber, bodies: list[Any], sender: str) -> None:
        function = subscriber.function
        for body in bodies:
            try:
                function(body, sender)
            except Exception:  # noqa: BLE001 - logged, and the next message is another
                self._failed("the subscriber of %s failed", subscriber.topic, trace=True)

    def _drain(self, subscriber: Subscriber) -> None:
        """Run what waits, in the loop."""
        if subscriber.is_async:
            if subscriber.pump is None or subscriber.pump.done():
                assert subscriber.loop is not None
                subscriber.pump = subscriber.loop.create_task(self._pump(subscriber))
            return
        while subscriber.pending:
            bodies, sender = subscriber.pending.popleft()
            self._run(subscriber, bodies, sender)
            subscriber.pending_messages -= len(bodies)

    async def _pump(self, subscriber: Subscriber) -> None:
        while subscriber.pending:
            bodies, sender = subscriber.pending.popleft()
            for body in bodies:
                try:
                    await subscriber.function(body, sender)
                except Exception:  # noqa: BLE001 - logged, and the next message is another
                    self._failed("the subscriber of %s failed", subscriber.topic, trace=True)
                finally:
                    subscriber.pending_messages -= 1

    def _start(self, served: Served, call: Call) -> None:
        import asyncio

        task = asyncio.ensure_future(self._await(served, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await(self, served: Served, call: Call) -> None:
        import asyncio

        try:
            async with asyncio.timeout(call.within_s):
                result = await served.function(decode_body(call.body), call.sender)
        except asyncio.CancelledError:
            self._done(call, problems.FAILED, "it was cancelled.")
            raise
        except Exception as error:  # noqa: BLE001 - told to who asked
            self._done(call, problems.FAILED, _shown(error))
        else:
            self._return(call, result)

    def _work(self, served: Served, call: Call) -> None:
        try:
            result = served.function(decode_body(call.body), call.sender)
            if served.is_async:
                import asyncio

                result = asyncio.run(_bounded(result, call.within_s))
        except BaseException as error:  # noqa: BLE001 - told to who asked; also a SystemExit
            self._done(call, problems.FAILED, _shown(error))
        else:
            self._return(call, result)

    def _return(self, call: Call, result: Any) -> None:
        try:
            body = Raw(encode_body(result))
        except BadArgument as error:
            self._done(call, problems.FAILED, str(error))
            return
        self._reply(Reply(call.id, "", body))
        self._count(-1)

    def _done(self, call: Call, problem: str, text: str) -> None:
        self._answer(call, problem, text)
        self._count(-1)

    def _count(self, by: int) -> None:
        with self._counting:
            self.running += by

    def _answer(self, call: Call, problem: str, text: str) -> None:
        self._reply(Reply(call.id, problem, Raw(encode(text))))

    def _in_loop(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> bool:
        try:
            loop.call_soon_threadsafe(work)
        except RuntimeError:  # it was closed
            return False
        return True

    def _failed(self, text: str, what: str, *, trace: bool = False) -> None:
        """Log a failure: the first, and then ever more seldom, since there may be a flood."""
        self.failures += 1
        if self.failures & (self.failures - 1) == 0:
            logger.error(f"{text} (failure %d)", what, self.failures, exc_info=trace)  # noqa: G004


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread; where nobody imported asyncio, none does."""
    loaded: Any = sys.modules.get("asyncio")
    try:
        loop: asyncio.AbstractEventLoop | None = loaded and loaded.get_running_loop()
    except RuntimeError:
        return None
    return loop


async def _bounded(result: Awaitable[Any], within_s: float) -> Any:
    import asyncio

    async with asyncio.timeout(within_s):
        return await result


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]
