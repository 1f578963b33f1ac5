"""A bot's end of the channel: publishes, subscribes, asks and answers, in threads and asyncio.

Nothing here blocks but ``Answer.result()``. Without a supervisor publications are dropped, counted,
and requests fail at once; while a supervisor is being replaced both wait, bounded, for the next.

A request is carried out at most once: when the connection ends after it was written, it fails with
``ChannelLost``, unless it is ``idempotent``, then it is sent again. What was not written yet is
written later.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from outrider.channel import problems
from outrider.channel.envelopes import (
    MOST_WITHIN_S,
    SUPERVISOR,
    Call,
    Deliver,
    Goodbye,
    Offer,
    Publish,
    Reply,
    Request,
    Subscribe,
    Welcome,
    array,
    decode_body,
    encode,
    encode_body,
)
from outrider.errors import BadArgument, ChannelBusy, ChannelLost
from outrider.sdk.answers import Answer
from outrider.sdk.handlers import Handlers
from outrider.sdk.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.channel.envelopes import ToBot

    Function = Callable[[Any, str], Any]

MOST_ASKED = 1000
# An answer that the hub sends just in time is on its way for a moment.
GRACE_S = 0.25
LAST_WORDS_S = 0.5
_LONGEST_NAME = 128


@dataclass(slots=True)
class _Asked:
    answer: Answer
    envelope: bytes
    idempotent: bool
    ticket: int


class Channel:
    """The channel of one process. ``bot.channel`` makes it when it is first used."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._open()
        _OPEN.append(self)

    def _open(self) -> None:
        self.instance = self.bot = ""
        self.dropped = self.lost_requests = 0
        self._handlers = Handlers(self._send_reply)
        self._link = Link(self._path or "", self)
        self._asked: dict[int, _Asked] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._ids = itertools.count(1)
        self._asking = threading.Lock()
        self._waiting_for_room: list[Answer] = []

    @property
    def connected(self) -> bool:
        """Tell whether the supervisor is there now."""
        return self._link.is_connected

    def publish(self, topic: str, body: Any = None, *, urgent: bool = False) -> bool:
        """Send to every bot, and the supervisor, that subscribed to a topic. Does not wait.

        False: there is no room or no supervisor, and the message is dropped; ``await room()`` and
        try again, or send less. Order is kept within a topic. ``urgent`` overtakes what is not, and
        is meant for little.

        Raises:
            BadArgument: the body can't be sent.
        """
        encoded = encode_body(body)
        if self._link.thread is None and not self._start():
            self.dropped += 1
            return False
        if not urgent:
            return self._link.publish(topic, encoded)
        return self._link.put(encode(Publish(topic, array([encoded]))), urgent=True)

    def room(self) -> Answer:
        """Return an answer that comes when there is room again; ``await`` it, or ``.result()``."""
        answer = self._new_answer()
        outbox = self._link.outbox
        with self._asking:
            self._waiting_for_room.append(answer)
        if outbox.waiting_bytes < outbox.most_bytes // 2:
            self.has_room()
        return answer

    def subscribe(self, topic: str, function: Function) -> None:
        """Call ``function(body, sender)`` for each message of a topic, one after the other.

        Inside a running loop it is called in that loop, and may be async. Elsewhere it is called in
        the channel's own thread, and must not block. One function a topic: the last counts.
        ``sender`` is the instance that published, by the supervisor's word.

        Raises:
            BadArgument: an async function, and no loop runs here.
        """
        _check_name("topic", topic)
        self._handlers.subscribe(topic, function)
        self._say(Subscribe(topic, wanted=True))

    def unsubscribe(self, topic: str) -> None:
        """Hear a topic no more."""
        if self._handlers.subscribers.pop(topic, None):
            self._say(Subscribe(topic, wanted=False))

    def serve(
        self, name: str, function: Function, *, at_once: int | None = None, only: str = ""
    ) -> None:
        """Answer requests with what ``function(body, sender)`` returns; ``def`` or ``async def``.

        What it raises is told to who asked. A plain function runs in a thread, ``at_once`` 4 of
        them at most; an async one in the loop that runs here, 64 times at once, and is cancelled
        when the asker waits no more. What is beyond waits in the supervisor, for another instance
        too. ``only`` names the bot, instance or ``"supervisor"`` that alone may ask.
        """
        _check_name("name", name)
        if at_once is not None and not 1 <= at_once <= MOST_ASKED:
            raise BadArgument(f"at_once = {at_once!r} must be from 1 to {MOST_ASKED}.")
        served = self._handlers.serve(name, function, at_once=at_once, only=only)
        self._say(Offer(name, served.at_once, only))

    def drain(self) -> Answer:
        """Serve nothing new; the answer comes when all that was under way is done."""
        for name in list(self._handlers.served):
            self._say(Offer(name, 0))
        drained = self._new_answer()

        def heard(_: Answer) -> None:
            # What the hub gave us before it knew has come: it keeps the order.
            self._handlers.served.clear()
            threading.Thread(target=self._finish_draining, args=(drained,), daemon=True).start()

        self.request("ping", bot=SUPERVISOR, idempotent=True).when_done(heard)
        return drained

    def request(
        self,
        name: str,
        body: Any = None,
        *,
        bot: str = "",
        instance: str = "",
        within_s: float = 5.0,
        idempotent: bool = False,
    ) -> Answer:
        """Ask a bot: the least loaded of its instances, or the one ``instance``.

        ``await`` what is returned, or call its ``result()``. It raises ``ChannelRefused`` when
        nobody serves ``name``, ``RequestFailed`` when the function raised, ``ChannelTimeout`` after
        ``within_s``, ``ChannelLost`` when whoever had it is gone, ``ChannelBusy`` when too much
        waits already.

        Raises:
            BadArgument: the request makes no sense; nothing was sent.
        """
        _check_name("name", name)
        if bool(bot) == bool(instance):
            raise BadArgument("a request names a bot, or one instance: bot=... or instance=...")
        if not 0 < within_s <= MOST_WITHIN_S:
            raise BadArgument(f"within_s = {within_s!r} must be from 0 to {MOST_WITHIN_S:.0f}.")
        encoded = Raw(encode_body(body))
        answer = self._new_answer()
        if self._link.thread is None and not self._start():
            answer.settle(error=ChannelLost("nobody supervises this process: no OUTRIDER_CHANNEL."))
            return answer
        number = next(self._ids)
        envelope = encode(
            Request(number, name, bot, instance, float(within_s), idempotent, encoded)
        )
        deadline_s = time.monotonic() + within_s + GRACE_S
        with self._asking:
            if len(self._asked) >= MOST_ASKED:
                answer.settle(error=ChannelBusy(f"{MOST_ASKED} requests of this bot wait already."))
                return answer
            asked = self._asked[number] = _Asked(answer, envelope, idempotent, 0)
            heapq.heappush(self._deadlines, (deadline_s, number))
            if not self._link.put(envelope, urgent=True):
                del self._asked[number]
                answer.settle(
                    error=ChannelBusy("the supervisor does not read; the outbox is full.")
                )
                return answer
            asked.ticket = self._link.outbox.tickets
        self._link.ring(deadline_s)
        return answer

    def figures(self) -> dict[str, float]:
        """Return what a bot's frame tells of its channel."""
        outbox, handlers = self._link.outbox, self._handlers
        written = outbox.written
        return {
            "channel.connected": float(self.connected),
            "channel.queued_bytes": float(outbox.waiting_bytes),
            "channel.window_s": self._link.pace.window_s,
            "channel.sent_total": float(written.messages),
            "channel.batches_total": float(written.frames),
            "channel.delay_seconds_total": written.waited_s,
            "channel.received_total": float(handlers.received),
            "channel.dropped_total": float(self.dropped + outbox.dropped + handlers.dropped),
            "channel.failures_total": float(handlers.failures),
            "channel.waiting": float(len(self._asked)),
            "channel.running": float(handlers.running),
            "channel.reconnects_total": float(max(0, self._link.connects - 1)),
        }

    def flush(self, within_s: float = LAST_WORDS_S) -> None:
        """Write all that waits; blocks for at most so long."""
        self._link.flush(within_s)

    def close(self) -> None:
        """Write what waits, and close. Requests that wait fail with ``ChannelLost``."""
        self.flush()
        self._link.close()
        self._fail_all("the channel was closed.")
        if self in _OPEN:
            _OPEN.remove(self)

    # What the link tells.

    def greeting(self) -> list[bytes]:
        """Return what the hub must know first."""
        return [
            *(encode(Subscribe(topic, wanted=True)) for topic in list(self._handlers.subscribers)),
            *(
                encode(Offer(served.name, served.at_once, served.only))
                for served in list(self._handlers.served.values())
            ),
        ]

    def received(self, envelope: ToBot) -> None:
        """Take an envelope from the hub."""
        match envelope:
            case Deliver():
                self._handlers.deliver(envelope)
            case Call():
                self._handlers.call(envelope)
            case Reply():
                self._settle(envelope)
            case Welcome(instance, bot):
                self.instance, self.bot = instance, bot
            case Goodbye(reason):
                self._link.reason = reason

    def lost(self) -> None:
        """Fail what may have been carried out, and send again what may be done twice."""
        with self._asking, self._link.lock:
            outbox = self._link.outbox
            gone = [
                (number, asked)
                for number, asked in self._asked.items()
                if asked.ticket <= outbox.written.urgent
            ]
            for number, asked in gone:
                if asked.idempotent and outbox.put(asked.envelope, urgent=True):
                    asked.ticket = outbox.tickets
                else:
                    del self._asked[number]
            lost = [asked.answer for number, asked in gone if number not in self._asked]
        self.lost_requests += len(lost)
        for answer in lost:
            answer.settle(
                error=ChannelLost("the supervisor was replaced; it may have been carried out.")
            )

    def tick(self, now_s: float) -> float | None:
        """Fail requests whose time is over; return when the next one's is."""
        late: list[Answer] = []
        with self._asking:
            deadlines, asked = self._deadlines, self._asked
            while deadlines and (deadlines[0][0] <= now_s or deadlines[0][1] not in asked):
                if waited := asked.pop(heapq.heappop(deadlines)[1], None):
                    late.append(waited.answer)
            next_s = deadlines[0][0] if deadlines else None
        for answer in late:
            away = self._link.reason and f"the supervisor is away: {self._link.reason}"
            answer.settle(error=problems.error(problems.LATE, away or "no answer came in time."))
        return next_s

    def has_room(self) -> None:
        """Tell those who wait for room."""
        with self._asking:
            waiting, self._waiting_for_room = self._waiting_for_room, []
        for answer in waiting:
            answer.settle()

    def _settle(self, reply: Reply) -> None:
        with self._asking:
            asked = self._asked.pop(reply.id, None)
        if asked is None:  # its time was over
            return
        try:
            said = decode_body(reply.body)
        except (ValueError, RecursionError) as error:
            asked.answer.settle(
                error=problems.error(problems.FAILED, f"the answer can't be read: {error}")
            )
            return
        if reply.problem:
            asked.answer.settle(error=problems.error(reply.problem, str(said)))
        else:
            asked.answer.settle(said)

    def _send_reply(self, reply: Reply) -> None:
        self._link.put(encode(reply), urgent=True)

    def _say(self, envelope: Subscribe | Offer) -> None:
        """Tell the hub, now if it is there; the greeting says it to the next one anyway."""
        if self._link.thread is not None and self._link.is_connected:
            self._link.put(encode(envelope), urgent=True)
        else:
            self._start()

    def _start(self) -> bool:
        if self._path is None:
            return False
        self._link.start()
        return True

    def _new_answer(self) -> Answer:
        answer = Answer()
        if self._link.thread is not None:
            answer.forbidden_thread = self._link.thread.ident
        return answer

    def _finish_draining(self, drained: Answer) -> None:
        while self._handlers.running:
            time.sleep(0.005)
        self.flush()
        drained.settle()

    def _fail_all(self, why: str) -> None:
        with self._asking:
            left, self._asked = list(self._asked.values()), {}
        for asked in left:
            asked.answer.settle(error=ChannelLost(why))
        self.has_room()

    def _after_fork(self) -> None:
        """Begin anew in a child: no subscription, nothing served, its own connection when used."""
        self._link.abandon()
        self._open()


_OPEN: list[Channel] = []


def of_process() -> Channel:
    """Return a channel to this process's supervisor, as its environment says."""
    return Channel(os.environ.get("OUTRIDER_CHANNEL") or None)


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME:
        raise BadArgument(f"{what} = {name!r} must be a text of 1 to {_LONGEST_NAME} letters.")


def _in_child() -> None:
    for channel in _OPEN:
        channel._after_fork()  # noqa: SLF001 - same module


os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _last_words() -> None:
    for channel in _OPEN:
        channel.flush()
