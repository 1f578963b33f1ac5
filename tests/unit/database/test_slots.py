from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outrider.database.slots import OPEN, Slots


class Caller:
    def __init__(self, *, urgent: bool = False) -> None:
        self.urgent = urgent
        self.granted: Any = None

    def wake(self) -> None:
        assert self.granted is not None


def filled(cap: int, **options: Any) -> tuple[Slots, list[str]]:
    """All places in use."""
    slots = Slots(cap, **options)
    records: list[str] = []
    while slots.take(urgent=True) is OPEN:
        records.append(f"record{len(records)}")
    return slots, records


def test_who_waits_longest_is_served_first() -> None:
    slots, (first, _) = filled(2)
    callers = [Caller(), Caller()]
    assert [slots.wait(caller) for caller in callers] == [None, None]

    assert slots.give_back(first, 1.0) is False

    assert [caller.granted for caller in callers] == [(1.0, first), None]


def test_who_comes_later_does_not_overtake() -> None:
    slots, (first, _) = filled(2)
    slots.wait(Caller())
    slots.give_back(first, 1.0)
    waiting = Caller()
    assert slots.wait(waiting) is None
    slots.resize(3)
    assert waiting.granted is OPEN
    assert slots.take() is None


def test_urgent_callers_go_first_and_have_the_reserve() -> None:
    slots = Slots(3, reserve=1)
    assert [slots.take(), slots.take()] == [OPEN, OPEN]
    usual = Caller()
    assert slots.wait(usual) is None
    assert slots.take(urgent=True) is OPEN
    urgent = Caller(urgent=True)
    assert slots.wait(urgent) is None
    slots.give_back("record", 1.0)
    assert (urgent.granted, usual.granted) == ((1.0, "record"), None)


def test_shrinking_closes_idle_ones_at_once_and_used_ones_when_they_come_back() -> None:
    slots, records = filled(4)
    slots.give_back(records[0], 1.0)
    slots.give_back(records[1], 2.0)

    assert slots.resize(1) == records[:2]
    assert slots.use().held == 4
    slots.retire()
    slots.retire()
    assert slots.give_back(records[2], 3.0) is True
    slots.retire()
    assert slots.give_back(records[3], 4.0) is False
    assert slots.use().held == 1


def test_a_place_is_free_only_when_its_connection_is_closed() -> None:
    slots, records = filled(1)
    caller = Caller()
    assert slots.wait(caller) is None
    assert slots.give_back(records[0], 1.0, usable=False) is True
    assert caller.granted is None
    slots.retire()
    assert caller.granted is OPEN


def test_a_caller_that_leaves_in_time_gets_nothing_and_one_that_is_late_keeps_it() -> None:
    slots, records = filled(1)
    early, late = Caller(), Caller()
    slots.wait(early)
    slots.wait(late)
    assert slots.leave(early) is True
    slots.give_back(records[0], 1.0)
    assert slots.leave(late) is False
    assert (early.granted, late.granted) == (None, (1.0, records[0]))


def test_a_failed_connect_lets_the_next_caller_try() -> None:
    slots = Slots(1)
    assert slots.take() is OPEN
    caller = Caller()
    slots.wait(caller)
    slots.failed()
    assert caller.granted is OPEN


def test_beyond_what_is_kept_idle_a_connection_is_closed() -> None:
    slots, records = filled(3, keep=1)
    assert [slots.give_back(record, 1.0) for record in records] == [False, True, True]


def test_the_peak_is_that_since_it_was_asked() -> None:
    slots, records = filled(3)
    for record in records:
        slots.give_back(record, 1.0)
    assert (slots.peak(), slots.peak()) == (3, 0)
    slots.take()
    assert slots.peak() == 1


class Machine(RuleBasedStateMachine):
    """Any order of everything: no place twice, none lost, nobody waits while one is free."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(3)
        self.limit = 3
        self.in_use: list[object] = []
        self.closing = 0
        self.callers: list[Caller] = []

    def _collect(self) -> None:
        for caller in [each for each in self.callers if each.granted is not None]:
            self.callers.remove(caller)
            self.in_use.append(object() if caller.granted is OPEN else caller.granted[1])

    @rule()
    def take(self) -> None:
        caller = Caller()
        got = self.slots.wait(caller)
        if got is None:
            self.callers.append(caller)
        else:
            self.in_use.append(object() if got is OPEN else got[1])

    @precondition(lambda self: self.in_use)
    @rule(usable=st.booleans())
    def give_back(self, *, usable: bool) -> None:
        self.closing += self.slots.give_back(self.in_use.pop(), 1.0, usable)
        self._collect()

    @precondition(lambda self: self.closing)
    @rule()
    def closed(self) -> None:
        self.closing -= 1
        self.slots.retire()
        self._collect()

    @rule(cap=st.integers(0, 6))
    def resize(self, cap: int) -> None:
        self.limit = max(cap, self.slots.use().held)
        self.closing += len(self.slots.resize(cap))
        self._collect()

    @precondition(lambda self: self.callers)
    @rule()
    def leave(self) -> None:
        assert self.slots.leave(self.callers.pop())

    @invariant()
    def places_are_what_is_open(self) -> None:
        use = self.slots.use()
        assert use.held == len(self.in_use) + use.idle + self.closing
        assert use.held <= self.limit
        assert len(set(map(id, self.in_use))) == len(self.in_use)
        assert use.waiting == len(self.callers)
        if self.callers:
            free = use.cap - len(self.in_use)
            assert free <= 0 or (not use.idle and use.held >= use.cap)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
