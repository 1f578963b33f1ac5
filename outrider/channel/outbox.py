"""What waits to be written to one connection: bounded, urgent before bulk, neither starves.

Publications are gathered by topic first, so that they become few envelopes; order is kept within a
topic. Envelopes then wait in two queues. A frame is filled with what is urgent, but when bulk waits
too a quarter is its own; frames are small beside a socket's buffer, so that what is urgent never
stands behind more bulk than the kernel holds.

What does not fit is not taken: the caller is told, and it is counted. Each queue has its own bound,
so that bulk can't keep out what is urgent. Not for two threads at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from outrider.channel.envelopes import (
    MOST_AT_ONCE,
    MOST_FRAME_BYTES,
    Publish,
    array,
    encode,
    frame,
    lone,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 4 << 20
FRAME_BYTES = 64 << 10
URGENT_SHARE = 0.75
# What a topic and an envelope cost besides their text: a bot must not fill memory with empty ones.
_OVERHEAD_BYTES = 100


@dataclass(slots=True)
class Budget:
    """What the outboxes of one process may hold together."""

    most_bytes: int
    used_bytes: int = 0


@dataclass(slots=True)
class Written:
    """Totals of what left an outbox.

    ``urgent`` reaches an urgent message's ticket, the ``tickets`` after it was put, when it left.
    """

    frames: int = 0
    urgent: int = 0
    messages: int = 0
    bytes: int = 0
    waited_s: float = 0.0


class Outbox:
    """Takes messages and envelopes, gives frames."""

    def __init__(
        self,
        *,
        most_bytes: int = MOST_BYTES,
        budget: Budget | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.most_bytes = most_bytes
        self.bulk_bytes = 0
        self.urgent_bytes = 0
        self.tickets = 0
        self.gathered = 0
        self.dropped = 0
        self.in_hand = 0
        self.written = Written()
        self._budget = budget or Budget(1 << 62)
        self._now = now
        self._topics: dict[str, list[bytes]] = {}
        self._since_s = 0.0
        self._is_bulk_due = False
        self._urgent: deque[tuple[bytes, int, float]] = deque()
        self._bulk: deque[tuple[bytes, int, float]] = deque()

    @property
    def waiting_bytes(self) -> int:
        """How much waits; 0 only when nothing does."""
        return self.bulk_bytes + self.urgent_bytes

    def publish(self, topic: str, body: bytes) -> bool:
        """Gather an encoded body for a topic. False: there is no room, and it was counted."""
        bodies = self._topics.get(topic)
        size = len(body)
        if bodies is None:
            size += _OVERHEAD_BYTES + len(topic)
        if self.bulk_bytes + size > self.most_bytes:
            self.dropped += 1
            return False
        if bodies is None:
            if not self._topics:
                self._since_s = self._now()
            bodies = self._topics[topic] = []
        bodies.append(body)
        self.bulk_bytes += size
        self._budget.used_bytes += size
        self.gathered += 1
        return True

    def pass_by(self, topic: str, body: bytes) -> bytes:
        """Return a frame with nothing but an encoded body: for an outbox in which nothing waits."""
        ready = lone(topic, body)
        written = self.written
        written.frames += 1
        written.messages += 1
        written.bytes += len(ready)
        self.in_hand = 1
        return ready

    def put(self, envelope: bytes, *, urgent: bool, messages: int = 1) -> bool:
        """Queue an encoded envelope. False: there is no room, and its messages were counted."""
        size = len(envelope) + _OVERHEAD_BYTES
        waiting = self.urgent_bytes if urgent else self.bulk_bytes
        # What is urgent is small, bounded anyhow, and must get through when bulk used up all.
        full = not urgent and self._budget.used_bytes + size > self._budget.most_bytes
        if full or waiting + size > self.most_bytes:
            self.dropped += messages
            return False
        if urgent:
            self._urgent.append((envelope, messages, self._now()))
            self.urgent_bytes += size
            self.tickets += messages
        else:
            self._bulk.append((envelope, messages, self._now()))
            self.bulk_bytes += size
        self._budget.used_bytes += size
        return True

    def take(self, most_bytes: int = FRAME_BYTES) -> bytes:
        """Return the next frame, with ``in_hand`` messages; empty when nothing waits."""
        if self._topics:
            self._close_gathered()
        urgent, bulk = self._urgent, self._bulk
        if not urgent and not bulk:
            return b""
        chosen: list[bytes] = []
        first, second = (bulk, urgent) if self._is_bulk_due else (urgent, bulk)
        share = int(most_bytes * URGENT_SHARE) if second else most_bytes
        used, messages, oldest_s = self._fill(chosen, first, share, 0)
        also = self._fill(chosen, second, most_bytes - used, used)
        of_urgent, of_bulk = (also[0], used) if first is bulk else (used, also[0])
        # A body as large as a frame finds no room beside others: it goes first in the next.
        self._is_bulk_due = bool(bulk) and not of_bulk
        self.written.urgent += also[1] if first is bulk else messages
        self.urgent_bytes -= of_urgent
        self.bulk_bytes -= of_bulk
        self._budget.used_bytes -= of_urgent + of_bulk
        waited_s = self._now() - min(oldest_s, also[2])
        ready = frame(chosen)
        written = self.written
        written.frames += 1
        self.in_hand = messages + also[1]
        written.messages += self.in_hand
        written.bytes += len(ready)
        written.waited_s += waited_s
        return ready

    def clear(self) -> None:
        """Forget all that waits; its messages count as dropped."""
        self._close_gathered()
        self.dropped += sum(messages for _, messages, _ in (*self._urgent, *self._bulk))
        self._budget.used_bytes -= self.waiting_bytes
        self.urgent_bytes = self.bulk_bytes = 0
        self._urgent.clear()
        self._bulk.clear()

    @staticmethod
    def _fill(
        chosen: list[bytes], queue: deque[tuple[bytes, int, float]], room: int, before: int
    ) -> tuple[int, int, float]:
        """Move envelopes into a frame: one at least where it may be, else as many as fit."""
        used, count, oldest_s = 0, 0, queue[0][2] if queue else float("inf")
        while queue and len(chosen) < MOST_AT_ONCE and (not count or used < room):
            envelope, messages, _ = queue[0]
            size = len(envelope) + _OVERHEAD_BYTES
            if chosen and before + used + size > MOST_FRAME_BYTES:
                break
            queue.popleft()
            chosen.append(envelope)
            used += size
            count += messages
        return used, count, oldest_s

    def _close_gathered(self) -> None:
        """Make envelopes of what was gathered, each of about a frame."""
        before = 0
        after = 0
        for topic, bodies in self._topics.items():
            before += sum(map(len, bodies)) + _OVERHEAD_BYTES + len(topic)
            for piece in _pieces(bodies):
                envelope = encode(Publish(topic, array(piece)))
                self._bulk.append((envelope, len(piece), self._since_s))
                after += len(envelope) + _OVERHEAD_BYTES
        self._topics = {}
        self.gathered = 0
        self.bulk_bytes += after - before
        self._budget.used_bytes += after - before


def _pieces(bodies: list[bytes]) -> list[list[bytes]]:
    pieces: list[list[bytes]] = []
    size = FRAME_BYTES
    for body in bodies:
        size += len(body)
        if size > FRAME_BYTES or len(pieces[-1]) >= MOST_AT_ONCE:
            pieces.append([])
            size = len(body)
        pieces[-1].append(body)
    return pieces
