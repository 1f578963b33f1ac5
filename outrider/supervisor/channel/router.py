"""Who gets what: topics to those who subscribed, requests to the least loaded of those who serve.

Knows members, not sockets, and is told the time, so that all of it can be tried without either.

A request waits here, not at the bot that answers it: a bot is given as many at once as it said it
can do. So what waits goes to whichever instance is free first, also to one that was started
meanwhile, and an instance that dies takes with it only what it was doing. Of several that are free
the one with the smallest share of its capacity in use is chosen, of equals the one that was chosen
longest ago.

A request is given out once. When the instance that has it goes away, the asker is told ``lost``; if
the request is idempotent it is given to another instead, three times at most.

What a member can fill is bounded: subscriptions, offers, requests that wait. Beyond, a request is
answered ``busy`` at once.
"""

from __future__ import annotations

import heapq
import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Raw

from outrider.channel import problems
from outrider.channel.envelopes import (
    MOST_AT_ONCE,
    SUPERVISOR,
    BadFrame,
    Call,
    Deliver,
    Reply,
    count,
    encode,
)
from outrider.supervisor.channel.member import Job, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from outrider.channel.envelopes import Offer, Publish, Request, Subscribe

MOST_TOPICS = MOST_OFFERS = 256
MOST_ASKED = 1024
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 << 20
MOST_TRIES = 3
# Who has just come may not have said yet all that it serves.
SETTLED_S = 2.0

Key = tuple[str, str, str]  # bot or "", instance or "", name


@dataclass(slots=True)
class Work:
    """Totals of the requests to one bot: what scaling goes by. ``busy_s`` is time of service."""

    waiting: int = 0
    running: int = 0
    arrived: int = 0
    answered: int = 0
    failed: int = 0
    late: int = 0
    lost: int = 0
    busy: int = 0
    waited_s: float = 0.0
    busy_s: float = 0.0


@dataclass(slots=True)
class Totals:
    """What went through the hub."""

    published: int = 0
    delivered: int = 0
    dropped: int = 0
    requests: int = 0
    stray_replies: int = 0


@dataclass(slots=True)
class Router:
    """Routes envelopes between members; ``known(bot, instance)`` says whom the supervisor has."""

    known: Callable[[str, str], bool]
    members: set[Member] = field(default_factory=set)
    work: dict[str, Work] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    waiting_bytes: int = 0
    _topics: dict[str, dict[Member, None]] = field(default_factory=dict)
    _servers: dict[str, dict[Member, None]] = field(default_factory=dict)
    # What a bot has ever served it will serve again, when it has been restarted.
    _served: dict[str, set[str]] = field(default_factory=dict)
    _queues: dict[Key, deque[Job]] = field(default_factory=dict)
    _deadlines: list[tuple[float, int, Job]] = field(default_factory=list)
    _live: int = 0
    # Ids of a hub that was replaced must mean nothing to this one.
    _last_id: int = field(default_factory=lambda: secrets.randbits(50))
    _turn: int = 0

    def join(self, member: Member, now_s: float) -> None:
        """Take a member in."""
        member.joined_s = now_s
        self.members.add(member)

    def leave(self, member: Member, now_s: float) -> None:
        """Forget a member: its subscriptions, its questions, and what it was doing."""
        self.members.discard(member)
        for topic in member.topics:
            self._remove(self._topics, topic, member)
        for name in member.offers:
            self._remove(self._servers, name, member)
        member.offers.clear()
        if member.asked:
            for queue in list(self._queues.values()):
                for job in [job for job in queue if job.asker is member]:
                    queue.remove(job)
                    self._no_more_waiting(job)
                    job.state = "done"
        for job in member.running.values():
            self._end(job, now_s)
            if job.idempotent and job.tries < MOST_TRIES and job.asker in self.members:
                self._dispatch(job, now_s)
            else:
                self._tally(job).lost += job.state != "done"
                self._fail(job, problems.LOST, f"{member.instance} is gone; it had the request.")
        member.running.clear()

    def subscribe(self, member: Member, asked: Subscribe) -> None:
        """Begin or end a subscription.

        Raises:
            BadFrame: it has too many.
        """
        if not asked.wanted:
            member.topics.discard(asked.topic)
            self._remove(self._topics, asked.topic, member)
            return
        member.topics.add(asked.topic)
        if len(member.topics) > MOST_TOPICS:
            raise BadFrame(f"more than {MOST_TOPICS} subscriptions.")
        self._topics.setdefault(asked.topic, {})[member] = None

    def offer(self, member: Member, offer: Offer, now_s: float) -> None:
        """Begin or end to serve a function.

        Raises:
            BadFrame: it has too many.
        """
        if not offer.at_once:
            member.offers.pop(offer.name, None)
            self._remove(self._servers, offer.name, member)
            return
        member.offers[offer.name] = offer
        if len(member.offers) > MOST_OFFERS:
            raise BadFrame(f"more than {MOST_OFFERS} functions.")
        self._servers.setdefault(offer.name, {})[member] = None
        served = self._served.setdefault(member.bot, set())
        if len(served) < MOST_OFFERS:
            served.add(offer.name)
        self._serve_waiting(member, offer.name, now_s)

    def freed(self, member: Member, now_s: float) -> None:
        """Give a member what waits for it, since it has room again."""
        for name in list(member.offers):
            self._serve_waiting(member, name, now_s)

    def publish(self, sender: Member, said: Publish) -> None:
        """Hand bodies to everyone who subscribed; who has no room for them loses them, counted.

        Raises:
            BadFrame: the bodies are no array, or too many.
        """
        messages = count(said.bodies)
        if messages > MOST_AT_ONCE:
            raise BadFrame(f"{messages:,} bodies in one envelope; the most is {MOST_AT_ONCE:,}.")
        self.totals.published += messages
        subscribers = self._topics.get(said.topic)
        if not subscribers:
            return
        encoded = b""
        for member in tuple(subscribers):
            if member.is_local:
                member.hear(said.topic, sender.instance, said.bodies)
                self.totals.delivered += messages
                continue
            encoded = encoded or encode(Deliver(said.topic, sender.instance, said.bodies))
            if member.give(encoded, urgent=False, messages=messages):
                self.totals.delivered += messages
            else:
                self.totals.dropped += messages

    def request(self, asker: Member, asked: Request, now_s: float) -> None:
        """Give a request to whoever is least loaded, let it wait, or answer why not."""
        self.totals.requests += 1
        self._last_id += 1
        job = Job(
            id=self._last_id, asker=asker, asker_id=asked.id, sender=asker.instance,
            sender_bot=asker.bot, bot=asked.bot, instance=asked.instance, name=asked.name,
            deadline_s=now_s + asked.within_s, idempotent=asked.idempotent, body=asked.body,
            arrived_s=now_s,
        )  # fmt: skip
        asker.asked += 1
        self._live += 1
        if bool(job.bot) == bool(job.instance):
            self._fail(job, problems.REFUSED, "a request names a bot, or one instance.")
            return
        if not (self.known(job.bot, job.instance) or SUPERVISOR in (job.bot, job.instance)):
            shown = job.bot or job.instance
            self._fail(job, problems.REFUSED, f"no bot {shown!r} is supervised on this host.")
            return
        tally = self._tally(job)
        tally.arrived += 1
        if asker.asked > MOST_ASKED:
            tally.busy += 1
            self._fail(job, problems.BUSY, f"{asker.instance} waits for {MOST_ASKED} answers.")
            return
        self._dispatch(job, now_s)

    def reply(self, server: Member, reply: Reply, now_s: float) -> None:
        """Pass an answer on to who asked. One that nobody waits for any more is left out."""
        job = server.running.pop(reply.id, None)
        if job is None:
            self.totals.stray_replies += 1
            return
        self._end(job, now_s)
        tally = self._tally(job)
        if reply.problem:
            tally.failed += 1
        else:
            tally.answered += 1
        self._answer(job, reply.problem, reply.body)
        self._serve_waiting(server, job.name, now_s)

    def expire(self, now_s: float) -> float | None:
        """Tell those whose time is over; return when to look again, None while nobody waits."""
        deadlines = self._deadlines
        if len(deadlines) > 2 * self._live + 1000:
            deadlines[:] = [entry for entry in deadlines if entry[2].state != "done"]
            heapq.heapify(deadlines)
        while deadlines and (deadlines[0][0] <= now_s or deadlines[0][2].state == "done"):
            job = heapq.heappop(deadlines)[2]
            if job.state == "done":
                continue
            self._tally(job).late += 1
            if job.state == "waiting":
                self._queues[job.key].remove(job)
                self._no_more_waiting(job)
                serves = any(job.is_for(each) for each in self._servers.get(job.name, ()))
                said = f"{job.bot or job.instance} {'had no room for' if serves else 'serves no'} "
                said += f"{job.name!r} in time."
            else:
                said = f"{job.server.instance if job.server else '?'} did not answer in time."
            # Whoever does it is busy with it until it says otherwise; only the asker is told.
            self._fail(job, problems.LATE, said)
        return deadlines[0][0] if deadlines else None

    def _dispatch(self, job: Job, now_s: float) -> None:
        able = [member for member in self._servers.get(job.name, ()) if job.is_for(member)]
        allowed = [member for member in able if member.admits(job)]
        if not allowed and (able or self._will_never_serve(job, now_s)):
            why = "does not serve it to you" if able else "serves no such function"
            self._fail(job, problems.REFUSED, f"{job.bot or job.instance} {why}: {job.name!r}.")
            return
        free = [member for member in allowed if member.is_free(job.name)]
        if free:
            self._give(job, min(free, key=lambda member: member.load(job.name)), now_s)
            return
        queue = self._queues.setdefault(job.key, deque())
        size = len(memoryview(job.body))
        if len(queue) >= MOST_WAITING or self.waiting_bytes + size > MOST_WAITING_BYTES:
            self._tally(job).busy += 1
            self._fail(
                job, problems.BUSY, f"{len(queue):,} requests wait for {job.name!r} already."
            )
            return
        job.body = job.body.copy()  # or the whole frame in which it came would wait with it
        job.state = "waiting"
        if job.tries:
            queue.appendleft(job)
        else:
            queue.append(job)
        self.waiting_bytes += size
        self._tally(job).waiting += 1
        self._watch(job)

    def _will_never_serve(self, job: Job, now_s: float) -> bool:
        """Tell whether its instances are here, for a while, and never served such a function."""
        here = [member for member in self.members if job.is_for(member)]
        settled = bool(here) and all(now_s - each.joined_s >= SETTLED_S for each in here)
        return settled and job.name not in self._served.get(here[0].bot, ())

    def _give(self, job: Job, server: Member, now_s: float) -> None:
        self._turn += 1
        server.last_turn = self._turn
        server.begin(job)
        job.state, job.server, job.started_s = "running", server, now_s
        job.tries += 1
        tally = self._tally(job)
        tally.running += 1
        tally.waited_s += now_s - job.arrived_s
        self._watch(job)
        server.take(Call(job.id, job.name, job.sender, max(0.0, job.deadline_s - now_s), job.body))

    def _serve_waiting(self, member: Member, name: str, now_s: float) -> None:
        """Give a member what waits for it, the oldest first."""
        keys: tuple[Key, ...] = (("", member.instance, name), (member.bot, "", name))
        while member in self.members and member.is_free(name):
            heads = [
                job
                for key in keys
                if (job := next((j for j in self._queues.get(key, ()) if member.admits(j)), None))
            ]
            if not heads:
                return
            job = min(heads, key=lambda each: each.arrived_s)
            self._queues[job.key].remove(job)
            self._no_more_waiting(job)
            self._give(job, member, now_s)

    def _watch(self, job: Job) -> None:
        if not job.is_watched:
            job.is_watched = True
            heapq.heappush(self._deadlines, (job.deadline_s, job.id, job))

    def _no_more_waiting(self, job: Job) -> None:
        self.waiting_bytes -= len(memoryview(job.body))
        self._tally(job).waiting -= 1
        if not self._queues[job.key]:
            del self._queues[job.key]

    def _end(self, job: Job, now_s: float) -> None:
        assert job.server is not None
        job.server.end(job)
        tally = self._tally(job)
        tally.running -= 1
        tally.busy_s += now_s - job.started_s

    def _fail(self, job: Job, problem: str, text: str) -> None:
        self._answer(job, problem, Raw(encode(text)))

    def _answer(self, job: Job, problem: str, body: Raw) -> None:
        if job.state == "done":
            return
        job.state = "done"
        self._live -= 1
        asker, job.asker = job.asker, None
        if asker is not None:
            asker.asked -= 1
            if asker in self.members:
                asker.take(Reply(job.asker_id, problem, body))

    def _tally(self, job: Job) -> Work:
        return self.work.setdefault(job.bot or job.instance, Work())

    @staticmethod
    def _remove(table: dict[str, dict[Member, None]], name: str, member: Member) -> None:
        if name in table:
            table[name].pop(member, None)
            if not table[name]:
                del table[name]

    def instances(self, bot: str) -> Iterator[Member]:
        """Yield the members that are instances of a bot."""
        return (member for member in self.members if member.bot == bot)
