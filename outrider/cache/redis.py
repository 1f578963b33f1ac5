"""The tier that processes share: values, leases to load them, and changes that must arrive.

Nothing here blocks or raises: a call returns the slot where its answer will be, or None when the
server is away. Changes that can't be sent are owed (:mod:`outrider.cache.outbox`) and sent before
anything else when the server is back. A value that was loaded meanwhile is then written only if
nothing was invalidated in its namespace that this process could not hear of, and if none is there
that lives longer: otherwise it might undo an invalidation, or replace a newer value.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import hiredis

from outrider.cache import keys
from outrider.cache.hearing import Hearing
from outrider.cache.link import TIMEOUT_S, Link, pack
from outrider.cache.outbox import Change, Outbox
from outrider.cache.slot import AWAY, Slot, Then
from outrider.cache.space import TEXT, Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outrider.cache.breaker import Breaker
    from outrider.cache.space import Listener

__all__ = ["AWAY", "RedisTier", "Space"]

# A dead loader is relieved after this; a live one renews its lease several times as often.
LEASE_S = 3.0
LONGEST_LOAD_S = 60.0  # a load that hangs for longer is given up: its lease is not renewed
# What is owed is sent so many changes at a time.
_AT_ONCE = 200
_MULTI, _EXEC = pack("MULTI"), pack("EXEC")


class RedisTier:
    """One server, for all caches of a process. Safe to use from threads and event loops."""

    def __init__(
        self, url: str, *, breaker: Breaker | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.refused = 0  # commands that the server answered with an error
        self.last_refusal = ""
        self.outbox = Outbox()
        self.writer = os.urandom(8).hex()
        self._leases: dict[tuple[Space, str], tuple[str, float]] = {}
        self.hearing = Hearing(self)
        self.link = Link(url, self, breaker=breaker, timeout_s=timeout_s)

    @property
    def breaker(self) -> Breaker:
        """Whether the server is held to be away."""
        return self.link.breaker

    @property
    def is_away(self) -> bool:
        """Whether asking is no use, and waiting neither."""
        link = self.link
        return not link.is_up and not link.is_trying

    def attach(self, namespace: str, version: str, listener: Listener) -> Space:
        """Enter a namespace, and hear of its changes from then on. Returns at once."""
        with self.outbox.lock:
            space = self.hearing.enter(namespace, version, listener)
        self.link.start()
        return space

    def opening(self, space: Space) -> Slot | None:
        """Return what to wait for before a namespace may be used, or None when there is nothing.

        There is nothing while it may be used, and nothing while the server is away.
        """
        if not self.link.is_up:
            return self.link.trying() if self.link.is_trying else None
        return None if space.is_attached else space.entering

    def ask(self, space: Space, *command: str | bytes | float) -> Slot | None:
        """Send a command that needs no memory if it is lost."""
        if not self._is_open(space):
            return None
        slot = self.slot()
        return slot if self.link.submit(pack(*command), (slot,)) else None

    def get(self, space: Space, key: str) -> Slot | None:
        """Ask for a value: answered with bytes or None."""
        return self.ask(space, "GET", space.value(key))

    def acquire(
        self,
        space: Space,
        key: str,
        *,
        mode: str,
        life_s: float,
        newer_s: float = 0.0,
        tags: Sequence[str] = (),
    ) -> Slot | None:
        """Ask for the right to load a key: answered with the list that ``acquire.lua`` returns."""
        limits = (_ms(LEASE_S), mode, _ms(newer_s), _ms(LONGEST_LOAD_S + life_s))
        return self.ask(space, *space.command("acquire", key), self.writer, *limits, *tags)

    def hold(self, space: Space, key: str, token: str) -> None:
        """Renew a lease from now on, until it is let go."""
        self._leases[space, key] = (token, time.monotonic())

    def let_go(self, space: Space, key: str, token: str, *, failed: bool) -> None:
        """Renew a lease no more. Of a load that failed others are told, so that one tries."""
        if self._leases.get((space, key), ("",))[0] == token:
            self._leases.pop((space, key), None)
        if failed:
            self.ask(space, *space.command("release", key), token)

    def enrol(self, space: Space, key: str, tags: Sequence[str], *, life_s: float) -> None:
        """Note the tags of a value that somebody loaded ahead without knowing them."""
        self.ask(space, *space.command("enrol", key), _ms(life_s), *tags)

    def store(
        self,
        space: Space,
        key: str,
        message: bytes,
        *,
        life_s: float,
        tags: Sequence[str] = (),
        token: str = "",
        expected: str = "",
    ) -> Slot | None:
        """Write a value: answered as :meth:`stored` understands. None: it is owed instead.

        It is fenced by the ``token`` of a lease, or by the number of invalidations that were
        ``expected``; with neither it replaces whatever is there.
        """
        change = Change(
            kind="w",
            namespace=space.name,
            version=space.version,
            key=key,
            message=message,
            dies_s=time.monotonic() + life_s,
            tags=tuple(tags),
        )
        with self.outbox.lock:
            if self._is_open(space):
                slot = self.slot(change)
                fence = "" if token else expected
                if self._write(space, change, slot, life_s=life_s, token=token, expected=fence):
                    return slot
            self.outbox.add(change)
            return None

    def invalidate(self, space: Space, kind: str, name: str) -> Slot | None:
        """Forget a k(ey), a t(ag) or the n(amespace) everywhere. None: it is owed instead."""
        change = Change(kind=kind, namespace=space.name, version=space.version, key=name)
        with self.outbox.lock:
            if self._is_open(space):
                slot = self.slot(change)
                if self._invalidate(space, change, slot):
                    return slot
            self.outbox.add(change)
            return None

    def answer(self, space: Space, answer: Any) -> list[Any] | None:
        """Return a script's answer as a list that begins with a word, or None when it is none."""
        if isinstance(answer, hiredis.ReplyError):
            self.refuse(answer)
            return None
        if not isinstance(answer, list):
            return None
        word, epoch, count = answer[0].decode(), answer[1].decode(), int(answer[2])
        self.hearing.learn(space, epoch, count)
        return [word, *answer[3:]]

    def stored(self, space: Space, answer: Any) -> str:
        """Return how a write went: stored, late (it was fenced out), moved, refused or away."""
        if answer is AWAY:
            return "away"
        # Of a transaction the first answer counts, unless it was refused as a whole.
        if isinstance(answer, list) and isinstance(answer[0], list | hiredis.ReplyError):
            answer = answer[0]
        words = self.answer(space, answer)
        return words[0] if words else "refused"

    def refuse(self, error: Any) -> None:
        """Note an error that the server answered with. It is there: no reason to stop asking."""
        self.refused += 1
        self.last_refusal = str(error)
        if self.last_refusal.startswith("NOSCRIPT"):  # somebody flushed the scripts
            self.load_scripts()
        elif self.refused == 1:
            self.hearing.warn("cache: Redis at %s refuses a command: %s", error)

    def slot(self, owes: Change | None = None) -> Slot:
        """Return a slot that opens the breaker when it is waited for in vain."""
        return Slot(self.link.timeout_s, self.link.overdue, owes)

    def close(self) -> None:
        """Close the connection."""
        self.link.close()

    # What the link calls, in its thread.

    def load_scripts(self) -> None:
        """Send all scripts."""
        payload = b"".join(pack("SCRIPT", "LOAD", text) for text in TEXT.values())
        self.link.submit(payload, [Slot(0.0) for _ in TEXT])

    def greet(self) -> None:
        """Load the scripts, enter all namespaces, and be ready when the last is entered."""
        self.load_scripts()
        self.hearing.enter_all()

    def returned(self) -> None:
        """Send what is owed, then let everybody in."""
        self.resend(None)

    def resend(self, space: Space | None) -> None:
        """Send what is owed, in order, then let callers into a space, or into all.

        What is owed to a space that is not entered stays. The lock is given back now and then: an
        event loop may be waiting for it.
        """
        bumps: dict[str, int] = {}
        while True:
            with self.outbox.lock:
                changes = self.outbox.take(_AT_ONCE, self._can_send)
                early: list[Change] = []
                for change in changes:
                    if self._can_send(change):
                        self._send_owed(change, bumps)
                    else:  # it follows a flush, and the epoch is not known yet
                        early.append(change)
                if early:
                    self.outbox.put_back(early)
                if changes:
                    continue
                if space is not None:
                    space.is_attached = space.is_entered
                else:
                    self.link.is_up = True
                    self.hearing.enter_new()
                return

    def pushed(self, push: list[Any]) -> None:
        """Hear what others changed."""
        self.hearing.pushed(push)

    def lost(self, unanswered: list[Slot]) -> None:
        """Distrust memory, and owe again what was sent and not answered for."""
        with self.outbox.lock:
            self.outbox.put_back([slot.owes for slot in unanswered if slot.owes is not None])
        self.hearing.lost()

    def forked(self) -> None:
        """Begin anew in a child: what the parent owes, it sends itself."""
        self.outbox = Outbox()
        self.writer = os.urandom(8).hex()
        self._leases = {}
        self.hearing.forked()

    def ticked(self) -> None:
        """Renew the leases of loads that take their time."""
        now_s = time.monotonic()
        for (space, key), (token, since_s) in list(self._leases.items()):
            if now_s - since_s > LONGEST_LOAD_S:
                self._leases.pop((space, key), None)
            else:
                self.ask(space, *space.command("renew", key), token, _ms(LEASE_S))

    def _is_open(self, space: Space) -> bool:
        return self.link.is_up and space.is_attached

    def _write(
        self,
        space: Space,
        change: Change,
        slot: Slot,
        *,
        life_s: float,
        token: str = "",
        expected: str = "",
    ) -> bool:
        # Only where the server tracks keys need it know that this write is ours.
        staging = keys.staging(self.writer) if self.hearing.by == "tracking" else ""
        check = pack(
            *space.command("store", change.key),
            *(space.epoch, token, change.message, _ms(life_s)),
            *(self.writer, staging, expected, *change.tags),
        )
        if not staging:
            return self.link.submit(check, (slot,))
        place = pack("RENAME", staging, space.value(change.key))
        # A transaction answers four times; only the last matters.
        slots = (Slot(0.0), Slot(0.0), Slot(0.0), slot)
        return self.link.submit(b"".join((_MULTI, check, place, _EXEC)), slots)

    def _invalidate(self, space: Space, change: Change, slot: Slot) -> bool:
        return self.link.submit(
            pack(*space.command("invalidate", change.key), change.kind), (slot,)
        )

    def _can_send(self, change: Change) -> bool:
        return self.hearing.find(change.namespace, change.version).is_entered

    def _send_owed(self, change: Change, bumps: dict[str, int]) -> None:
        """Send a change that was held back. ``bumps``: our own invalidations so far."""
        space = self.hearing.find(change.namespace, change.version)
        slot = Then(lambda answer: self._sent_late(space, answer), owes=change)
        if change.kind == "w":
            life_s = change.dies_s - time.monotonic()
            if life_s > 0 and not space.missed:
                expected = str(space.count + bumps.get(space.name, 0))
                self._write(space, change, slot, life_s=life_s, expected=expected)
        else:
            bumps[space.name] = bumps.get(space.name, 0) + 1
            self._invalidate(space, change, slot)
            if change.kind == "n":  # nobody may ask under the old epoch any more
                self.hearing.enter_again(space.name)

    def _sent_late(self, space: Space, answer: Any) -> None:
        self.stored(space, answer)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
