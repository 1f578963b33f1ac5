"""One that takes part in the channel, as the router sees it, and one request on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outrider.channel.envelopes import encode

if TYPE_CHECKING:
    from msgspec import Raw

    from outrider.channel.envelopes import Offer, ToBot


@dataclass(slots=True, eq=False)
class Job:
    """A request from when it came until its asker has an answer and its server is done."""

    id: int
    asker: Member | None
    asker_id: int
    sender: str
    sender_bot: str
    bot: str
    instance: str
    name: str
    deadline_s: float
    idempotent: bool
    body: Raw
    arrived_s: float
    started_s: float = 0.0
    tries: int = 0
    server: Member | None = None
    state: Literal["new", "waiting", "running", "done"] = "new"
    is_watched: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """The queue in which it waits."""
        return (self.bot, self.instance, self.name)

    def is_for(self, member: Member) -> bool:
        """Tell whether it is addressed to a member."""
        return self.bot == member.bot if self.bot else self.instance == member.instance


class Member:
    """What the router knows of one; :class:`Peer` is one at the end of a socket."""

    is_local = False

    def __init__(self, instance: str, bot: str) -> None:
        self.instance = instance
        self.bot = bot
        self.topics: set[str] = set()
        self.offers: dict[str, Offer] = {}
        self.running: dict[int, Job] = {}
        self.asked = 0
        self.joined_s = 0.0
        self.last_turn = 0
        self._running_of: dict[str, int] = {}

    def give(self, envelope: bytes, *, urgent: bool, messages: int) -> bool:
        """Hand over an encoded envelope, without blocking. False: it had no room for it."""
        raise NotImplementedError

    def take(self, envelope: ToBot) -> None:
        """Hand over an envelope that must arrive."""
        self.give(encode(envelope), urgent=True, messages=1)

    def hear(self, topic: str, sender: str, bodies: Raw) -> None:
        """Hand over a publication to one that is local, which needs no encoding."""
        raise NotImplementedError

    @property
    def has_room(self) -> bool:
        """Tell whether more can be given to it now."""
        return True

    def admits(self, job: Job) -> bool:
        """Tell whether it serves the function, and to who asks."""
        offer = self.offers.get(job.name)
        return offer is not None and offer.only in ("", job.sender, job.sender_bot)

    def is_free(self, name: str) -> bool:
        """Tell whether it can do one more."""
        offer = self.offers.get(name)
        return offer is not None and self._running_of.get(name, 0) < offer.at_once and self.has_room

    def load(self, name: str) -> tuple[float, int]:
        """Return what to choose the least loaded by."""
        return (len(self.running) / max(1, self.offers[name].at_once), self.last_turn)

    def begin(self, job: Job) -> None:
        """Note that it has a request."""
        self.running[job.id] = job
        self._running_of[job.name] = self._running_of.get(job.name, 0) + 1

    def end(self, job: Job) -> None:
        """Note that it has it no more."""
        left = self._running_of[job.name] - 1
        if left:
            self._running_of[job.name] = left
        else:
            del self._running_of[job.name]
