"""The supervisor's own place at the hub: it publishes, subscribes, asks and answers as bots do.

All of it runs in the supervisor's event loop; a function that is no coroutine must not block.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from outrider.channel import problems
from outrider.channel.envelopes import (
    MOST_AT_ONCE,
    NOTHING,
    SUPERVISOR,
    Call,
    Offer,
    Publish,
    Reply,
    Request,
    Subscribe,
    array,
    decode_bodies,
    decode_body,
    encode,
    encode_body,
)
from outrider.errors import OutriderError
from outrider.supervisor.channel.member import Member

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outrider.channel.envelopes import ToBot
    from outrider.supervisor.channel.router import Router

    Function = Callable[[Any, str], Any]

logger = logging.getLogger(__name__)


class Desk(Member):
    """A member that needs no socket."""

    is_local = True

    def __init__(
        self, router: Router, *, now: Callable[[], float], watch: Callable[[], None]
    ) -> None:
        super().__init__(SUPERVISOR, SUPERVISOR)
        self.failures = 0
        self._router = router
        self._now = now
        self._watch = watch
        self._functions: dict[str, Function] = {}
        self._subscribers: dict[str, Function] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        router.join(self, -math.inf)
        self.serve("ping", lambda body, _sender: body)

    def publish(self, topic: str, body: Any) -> None:
        """Publish to all bots that subscribed; who has no room loses it, which is counted."""
        self._router.publish(self, Publish(topic, array([encode_body(body)])))

    def subscribe(self, topic: str, function: Function) -> None:
        """Call ``function(body, sender)`` for each message of a topic, sent by an instance."""
        self._subscribers[topic] = function
        self._router.subscribe(self, Subscribe(topic, wanted=True))

    def unsubscribe(self, topic: str) -> None:
        """Hear a topic no more."""
        self._subscribers.pop(topic, None)
        self._router.subscribe(self, Subscribe(topic, wanted=False))

    def serve(self, name: str, function: Function) -> None:
        """Answer requests to ``bot="supervisor"`` with ``function(body, sender)``, def or async."""
        self._functions[name] = function
        self._router.offer(self, Offer(name, MOST_AT_ONCE), self._now())

    def request(
        self,
        name: str,
        body: Any = None,
        *,
        bot: str = "",
        instance: str = "",
        within_s: float = 5.0,
        idempotent: bool = False,
    ) -> Awaitable[Any]:
        """Ask any instance of a bot, or one instance. Await the answer.

        Raises:
            ChannelError: there is none; its kind says why.
        """
        number = next(self._ids)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        future.add_done_callback(lambda _: self._asked.pop(number, None))
        asked = Request(number, name, bot, instance, within_s, idempotent, Raw(encode_body(body)))
        self._router.request(self, asked, self._now())
        self._watch()
        return future

    def take(self, envelope: ToBot) -> None:
        """Take what was routed to the supervisor."""
        match envelope:
            case Call():
                self._call(envelope)
            case Reply():
                self._settle(envelope)

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        for future in list(self._asked.values()):
            if not future.done():
                future.set_exception(problems.error(problems.LOST, "the supervisor stops."))

    def hear(self, topic: str, sender: str, bodies: Raw) -> None:
        """Call the subscriber of a topic."""
        function = self._subscribers[topic]
        try:
            found = decode_bodies(bodies)
        except (ValueError, RecursionError):
            self.failures += 1
            return
        for body in found:
            try:
                function(body, sender)
            except Exception:  # noqa: BLE001 - logged, and the next message is another
                self._log("subscriber of %s failed", topic)

    def _call(self, call: Call) -> None:
        try:
            result = self._functions[call.name](decode_body(call.body), call.sender)
            if not inspect.isawaitable(result):
                self._reply(call, result)
                return
        except Exception as error:  # noqa: BLE001 - told to who asked
            self._refuse(call, error)
            return
        task = asyncio.ensure_future(self._finish(call, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, call: Call, result: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(call.within_s):
                self._reply(call, await result)
        except Exception as error:  # noqa: BLE001 - told to who asked
            self._refuse(call, error)

    def _reply(self, call: Call, result: Any) -> None:
        self._router.reply(self, Reply(call.id, "", Raw(encode_body(result))), self._now())

    def _refuse(self, call: Call, error: Exception) -> None:
        if not isinstance(error, OutriderError):
            self._log("%s failed", call.name)
        text = Raw(encode(f"{type(error).__name__}: {error}"[:2000]))
        self._router.reply(self, Reply(call.id, problems.FAILED, text), self._now())

    def _settle(self, reply: Reply) -> None:
        future = self._asked.get(reply.id)
        if future is None or future.done():
            return
        try:
            said = decode_body(reply.body or NOTHING)
        except (ValueError, RecursionError) as error:
            future.set_exception(problems.error(problems.FAILED, f"can't be read: {error}"))
            return
        if reply.problem:
            future.set_exception(problems.error(reply.problem, str(said)))
        else:
            future.set_result(said)

    def _log(self, text: str, what: str) -> None:
        """Log what failed, the first time and then ever more seldom."""
        self.failures += 1
        if self.failures & (self.failures - 1) == 0:
            logger.error(f"{text} (failure %d)", what, self.failures, exc_info=True)  # noqa: G004, LOG014
