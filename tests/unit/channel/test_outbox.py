from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outrider.channel.envelopes import (
    MOST_AT_ONCE,
    MOST_FRAME_BYTES,
    Deliver,
    Publish,
    decode_bodies,
    decode_to_hub,
    encode,
)
from outrider.channel.outbox import FRAME_BYTES, Budget, Outbox

BULK, URGENT = "bulk", "urgent"


def envelope(topic: str, size: int = 1) -> bytes:
    return encode(Publish(topic, msgspec.Raw(encode([b"x" * size]))))


def said(frame: bytes) -> list[tuple[str, list[Any]]]:
    found = decode_to_hub(frame[4:])
    return [(each.topic, decode_bodies(each.bodies)) for each in found if isinstance(each, Publish)]


def drained(outbox: Outbox) -> list[tuple[str, list[Any]]]:
    found = []
    while frame := outbox.take():
        found += said(frame)
    return found


def test_what_is_published_at_one_time_becomes_one_envelope_a_topic() -> None:
    outbox = Outbox()
    for number in range(3):
        outbox.publish("a", encode(number))
        outbox.publish("b", encode(-number))

    assert drained(outbox) == [("a", [0, 1, 2]), ("b", [0, -1, -2])]
    assert (outbox.written.frames, outbox.written.messages) == (1, 6)


def test_urgent_comes_first() -> None:
    outbox = Outbox()
    outbox.put(envelope(BULK), urgent=False)
    outbox.put(envelope(URGENT), urgent=True)

    assert [topic for topic, _ in drained(outbox)] == [URGENT, BULK]


def test_bulk_has_its_share_however_much_is_urgent() -> None:
    outbox = Outbox()
    for _ in range(100):
        outbox.put(envelope(URGENT, 10_000), urgent=True)
        outbox.put(envelope(BULK, 10_000), urgent=False)
    topics = [topic for topic, _ in said(outbox.take())]

    assert topics.count(URGENT) > topics.count(BULK) >= 1


def test_a_bulk_body_as_large_as_a_frame_is_not_kept_back_for_ever() -> None:
    outbox = Outbox()
    outbox.put(envelope(BULK, MOST_FRAME_BYTES - 1000), urgent=False)
    frames = []
    for _ in range(3):
        outbox.put(envelope(URGENT, 10_000), urgent=True)
        frames.append(outbox.take())

    assert all(len(frame) <= MOST_FRAME_BYTES + 4 for frame in frames)
    assert BULK in [topic for frame in frames for topic, _ in said(frame)]


def test_full_says_so_and_counts() -> None:
    outbox = Outbox(most_bytes=1000)
    taken = [outbox.publish("t", b"\xa1x" * 50) for _ in range(20)]

    assert taken[0]
    assert not taken[-1]
    assert outbox.dropped == taken.count(False)
    assert outbox.put(envelope(URGENT), urgent=True), "bulk keeps nothing urgent out"


def test_a_budget_holds_for_bulk_of_all_together() -> None:
    budget = Budget(1000)
    first, second = Outbox(budget=budget), Outbox(budget=budget)
    while first.put(envelope(BULK), urgent=False):
        pass

    assert not second.put(envelope(BULK), urgent=False)
    assert second.put(envelope(URGENT), urgent=True)
    first.clear()
    assert second.put(envelope(BULK), urgent=False)
    second.clear()
    assert budget.used_bytes == 0


def test_a_ticket_tells_when_something_urgent_has_left() -> None:
    outbox = Outbox()
    outbox.put(envelope(URGENT, FRAME_BYTES), urgent=True)
    outbox.put(envelope(URGENT, FRAME_BYTES), urgent=True)
    ticket = outbox.tickets

    outbox.take()
    assert outbox.written.urgent < ticket
    outbox.take()
    assert outbox.written.urgent >= ticket


def test_waiting_is_measured_from_the_oldest() -> None:
    now = [10.0]
    outbox = Outbox(now=lambda: now[0])
    outbox.publish("t", encode(1))
    now[0] = 10.5
    outbox.publish("t", encode(2))
    now[0] = 12.0
    outbox.take()

    assert outbox.written.waited_s == 2.0


@given(st.integers(1, 3 * MOST_AT_ONCE))
def test_no_envelope_has_more_bodies_than_the_hub_takes(many: int) -> None:
    outbox = Outbox()
    for _ in range(many):
        outbox.publish("t", b"\xc0")
    counts = [len(bodies) for _, bodies in drained(outbox)]

    assert sum(counts) == many
    assert max(counts) <= MOST_AT_ONCE


def test_a_delivery_is_no_larger_than_a_bot_takes() -> None:
    said_by_hub = Deliver("t" * 128, "s" * 64, msgspec.Raw(b"\x91" + encode(b"x" * 1_040_000)))

    assert len(encode(said_by_hub)) < 2 * MOST_FRAME_BYTES


class Boxes(RuleBasedStateMachine):
    """Whatever is put in comes out once, in order, and the bounds and sums are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1 << 40)
        self.outbox = Outbox(most_bytes=200_000, budget=self.budget)
        self.sent: dict[str, list[bytes]] = {}
        self.got: dict[str, list[bytes]] = {}
        self.number = 0

    @rule(topic=st.sampled_from("abc"), size=st.integers(0, 50_000))
    def publish(self, topic: str, size: int) -> None:
        body = self._body(size)
        if self.outbox.publish(topic, encode(body)):
            self.sent.setdefault(topic, []).append(body)

    @rule(urgent=st.booleans(), size=st.integers(0, 50_000))
    def put(self, urgent: bool, size: int) -> None:  # noqa: FBT001 - drawn by name
        body, topic = self._body(size), URGENT if urgent else BULK
        if self.outbox.put(encode(Publish(topic, msgspec.Raw(encode([body])))), urgent=urgent):
            self.sent.setdefault(topic, []).append(body)

    @precondition(lambda self: self.outbox.waiting_bytes)
    @rule()
    def take(self) -> None:
        frame = self.outbox.take()
        assert 0 < len(frame) <= MOST_FRAME_BYTES + 4
        for topic, bodies in said(frame):
            self.got.setdefault(topic, []).extend(bodies)

    @invariant()
    def sums_are_right(self) -> None:
        assert self.outbox.bulk_bytes >= 0
        assert 0 <= self.outbox.urgent_bytes <= self.outbox.most_bytes
        assert self.budget.used_bytes == self.outbox.waiting_bytes

    def teardown(self) -> None:
        for topic, bodies in drained(self.outbox):
            self.got.setdefault(topic, []).extend(bodies)
        assert self.sent == self.got
        assert self.outbox.waiting_bytes == 0

    def _body(self, size: int) -> bytes:
        self.number += 1
        return self.number.to_bytes(4, "big") + b"x" * size


TestBoxes = Boxes.TestCase
