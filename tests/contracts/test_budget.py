"""The budget's promise, whatever happens in whatever order: never more open than the wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from outrider.database import budget
from outrider.database.budget import Budget, Part
from outrider.store import connection

if TYPE_CHECKING:
    import redis

WALL = 12
SERVER = "db:5432"
INSTANCES = ("ape", "bee", "cat")


@dataclass(eq=False)
class Process:
    """A bot as the lease's holder behaves; ``open`` is what the server would count."""

    holder: str
    instance: str
    cap: int
    base: int
    seq: int = 0
    open: int = 0
    alive: bool = True
    leased: bool = False

    def apply(self, cap: int, seq: int) -> None:
        if seq > self.seq:
            self.cap, self.seq = cap, seq


class Fleet(RuleBasedStateMachine):
    """Processes that open, close, die and come back; plans that move; a Redis that forgets."""

    client: redis.Redis
    processes = Bundle("processes")

    @initialize(floors=st.lists(st.integers(1, 3), min_size=3, max_size=3))
    def begin(self, floors: list[int]) -> None:
        self.client.flushall()
        self.made = Budget(self.client, SERVER)
        self.every: list[Process] = []
        self.number = 0
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self._publish(dict(zip(INSTANCES, floors, strict=True)), max(floors))
        self._thaw()

    def _publish(self, floors: dict[str, int], surge: int) -> None:
        self.made.publish(WALL, surge, {name: Part(n, n + 1) for name, n in floors.items()})
        given: Any = self.client.hgetall(self.made._keys[1])
        self.floors = {name.decode(): int(n) for name, n in given.items()}
        self.surge = self.made.state()["surge"]

    def _thaw(self) -> None:
        """Let a lease's time pass since the budget was born; the living renew within it."""
        for process in self.every:
            if process.alive and process.leased:
                self._renew(process, process.cap)
        self.client.hset(self.made._keys[0], "frozen_until_ms", 0)

    @rule(target=processes, instance=st.sampled_from((*INSTANCES, "ape+child")))
    def start(self, instance: str) -> Any:
        """A process starts where none of that name lives, as a supervisor does it."""
        if any(each.alive and each.instance == instance for each in self.every):
            return multiple()
        self.number += 1
        process = Process(f"{instance}:{self.number}", instance, 0, 0)
        self.every.append(process)
        self._renew(process, 1)
        return process

    @rule(process=processes, want=st.integers(0, WALL))
    def renew(self, process: Process, want: int) -> None:
        if process.alive:
            self._renew(process, want)

    def _renew(self, process: Process, want: int) -> None:
        want = max(want, process.base)
        process.cap = min(process.cap, want)  # the pool shrinks before it is told
        told: dict[str, Any] = {"open_": process.open, "want": want, "seq": process.seq}
        self.sent.append((process.holder, process.instance, told))
        lease = self.made.renew(process.holder, process.instance, **told)
        if lease is not None:
            process.leased = True
            process.base = lease.base
            process.apply(lease.cap, lease.seq)

    @rule(process=processes)
    def hear(self, process: Process) -> None:
        """A cap that was raised meanwhile reaches the process."""
        packed = [each for each in self.made.holders() if each.name == process.holder]
        if process.alive and packed and packed[0].cap > process.cap:
            self._renew(process, packed[0].cap)

    @rule(process=processes)
    def open(self, process: Process) -> None:
        if process.alive:
            process.open = max(process.open, process.cap)

    @rule(process=processes, count=st.integers(1, 4))
    def close(self, process: Process, count: int) -> None:
        process.open = max(0, process.open - count)

    @rule(process=processes)
    def crash(self, process: Process) -> None:
        """It dies; what it had open may stay open at the server for a while."""
        if process.alive:
            process.alive = False
            self.made.bury(process.holder)

    @rule(process=processes)
    def lose(self, process: Process) -> None:
        """Its lease ends unrenewed: it falls to its base, by its own clock.

        Not before it heard that a plan lowered its floor: see what remains, in budget.py.
        """
        if (
            process.alive
            and process.leased
            and process.base <= self.floors.get(process.instance, 0)
        ):
            process.cap = min(process.cap, process.base)
            process.leased = False
            self.made.bury(process.holder)

    @rule()
    def audit(self) -> None:
        counts = {each.holder: each.open for each in self.every if each.open}
        self.made.audit(budget.count_open(self.made.holders(), counts))

    @rule(floors=st.lists(st.integers(0, 3), min_size=3, max_size=3), surge=st.integers(0, 3))
    def plan(self, floors: list[int], surge: int) -> None:
        asked = dict(zip(INSTANCES, floors, strict=True))
        for each in self.every:  # who is away cannot hear that its floor is lowered
            if each.alive and not each.leased and each.instance in asked:
                asked[each.instance] = max(asked[each.instance], each.base)
        self._publish(asked, surge)

    @rule()
    def forget(self) -> None:
        """Redis loses everything; the living tell what they have before anything is lent again.

        Of the dead it knows nothing any more: the server has ended their sessions by then. The plan
        that follows is the one that was in force: see budget.py.
        """
        self.client.flushall()
        for each in self.every:
            if not each.alive:
                each.open = 0
            elif not each.leased:
                each.cap = min(each.cap, each.base)
        self._publish(self.floors, self.surge)
        self._thaw()

    @rule(number=st.integers(0, 1000))
    def repeat(self, number: int) -> None:
        """A message of the past comes once more, from a connection that was given up."""
        if self.sent:
            holder, instance, told = self.sent[number % len(self.sent)]
            if any(each.alive and each.leased and each.holder == holder for each in self.every):
                self.made.renew(holder, instance, **told)

    @rule(process=processes)
    def leave(self, process: Process) -> None:
        if process.alive and not process.open:
            process.alive, process.cap = False, 0
            self.made.release(process.holder)

    @invariant()
    def never_more_than_the_wall(self) -> None:
        if not hasattr(self, "every"):
            return
        possible = sum(max(each.open, each.cap if each.alive else 0) for each in self.every)
        assert possible <= WALL, [vars(each) for each in self.every]

    @invariant()
    def sums_are_those_of_the_parts(self) -> None:
        if not hasattr(self, "every"):
            return
        state, holders = self.made.state(), self.made.holders()
        extra = sum(max(0, max(h.cap, h.open) - h.floor - h.starter) for h in holders)
        assert extra == state.get("extra", 0)
        assert sum(h.starter for h in holders) == state.get("starters", 0) <= state["surge"]
        assert state["reserved"] + state["surge"] + extra <= state["wall"]


@pytest.fixture
def client(valkey_url: str) -> Any:
    with connection.connect(valkey_url) as made:
        yield made


def test_the_wall_holds_through_everything(client: redis.Redis) -> None:
    machine = type("Machine", (Fleet,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def made(client: redis.Redis) -> Budget:
    """A wall of 12: three floors of 3, 1 and 1, no surge, 7 to lend."""
    made = Budget(client, SERVER)
    made.publish(WALL, 0, {"ape": Part(3, 4), "bee": Part(1, 4), "cat": Part(1, 4)})
    client.hset(made._keys[0], "frozen_until_ms", 0)
    return made


def cap(made: Budget, holder: str, want: int, *, open_: int = 0, seq: int = 0) -> budget.Lease:
    lease = made.renew(holder, holder.partition(":")[0], open_=open_, want=want, seq=seq)
    assert lease is not None
    return lease


def test_a_successor_gets_its_floor_when_the_server_has_forgotten_the_predecessor(
    made: Budget,
) -> None:
    assert cap(made, "ape:1", WALL).cap == 10
    made.bury("ape:1")
    assert cap(made, "ape:2", 3).cap == 0
    made.audit({"ape:1": 9})
    assert cap(made, "ape:2", 3).cap == 1
    made.audit({"ape:1": 0})
    assert cap(made, "ape:2", 3).cap == 3


def test_a_successor_starts_from_the_surge_meanwhile(made: Budget, client: redis.Redis) -> None:
    made.publish(WALL, 2, {"ape": Part(3, 4)})
    assert cap(made, "ape:1", WALL).cap == 10
    made.bury("ape:1")
    assert cap(made, "ape:2", 3).cap == 2
    assert made.state()["starters"] == 2
    made.audit({"ape:1": 0})
    assert cap(made, "ape:2", 3).cap == 3
    assert made.state()["starters"] == 0


def test_a_message_that_comes_late_lowers_nothing(made: Budget) -> None:
    old = cap(made, "ape:1", 5)
    now = cap(made, "ape:1", 8, seq=old.seq, open_=8)
    assert cap(made, "ape:1", 4, seq=old.seq, open_=1).cap == 8
    assert made.holders()[0].open == 8
    assert now.cap == 8


def test_what_one_gives_back_goes_to_who_waits(made: Budget) -> None:
    ape = cap(made, "ape:1", 10)
    more = cap(made, "ape:1", 12, seq=ape.seq, open_=10)
    assert (more.cap, more.hungry) == (10, 1)
    assert cap(made, "bee:1", 3).cap == 1
    cap(made, "ape:1", 9, seq=more.seq, open_=9)
    caps = {holder.instance: holder.cap for holder in made.holders()}
    assert caps == {"ape": 9, "bee": 2}


def test_who_has_waited_longest_goes_first_though_it_is_above_its_share(
    made: Budget, client: redis.Redis
) -> None:
    ape = cap(made, "ape:1", 5)
    cat = cap(made, "cat:1", 6)
    assert (ape.cap, cat.cap) == (5, 6)
    assert cap(made, "ape:1", 8, seq=ape.seq, open_=5).cap == 5
    client.zincrby(made._keys[6], -1000, "ape:1")  # it came a second before the next
    assert cap(made, "bee:1", 3).cap == 1
    cap(made, "cat:1", 5, seq=cat.seq, open_=5)
    caps = {holder.instance: holder.cap for holder in made.holders()}
    assert caps == {"ape": 6, "bee": 1, "cat": 5}


def test_who_waits_for_long_below_its_share_is_told_to_those_above_theirs(
    made: Budget, client: redis.Redis
) -> None:
    cap(made, "ape:1", 10)
    with client.pubsub(ignore_subscribe_messages=True) as said:  # type: ignore[no-untyped-call]
        said.subscribe(made.channel)
        cap(made, "bee:1", 3)
        client.zincrby(made._keys[6], -1000, "bee:1")
        cap(made, "bee:1", 3)
        cap(made, "bee:1", 3)  # nothing is new: who hears it renews, and would have it said again
        client.publish(made.channel, "end")
        heard: list[bytes] = []
        while b"end" not in heard:
            message = said.get_message(timeout=5)
            if message:
                heard.append(message["data"])
    assert heard == [b"hungry 1 0", b"hungry 1 1", b"end"]


def test_nothing_is_lent_for_a_lease_s_time_after_redis_forgot(
    made: Budget, client: redis.Redis
) -> None:
    before = cap(made, "ape:1", 8)
    client.flushall()
    assert made.renew("ape:1", "ape", open_=8, want=8, seq=before.seq) is None
    made.publish(WALL, 0, {"ape": Part(3, 4), "bee": Part(1, 4)})
    after = cap(made, "ape:1", 8, open_=8, seq=before.seq)
    assert (after.cap, after.frozen) == (8, True)
    assert after.seq > before.seq
    assert cap(made, "bee:1", 4).cap == 1


def test_a_forked_child_has_no_floor(made: Budget) -> None:
    cap(made, "ape:1", 10)
    assert cap(made, "ape+child:9", 1).cap == 0


def test_a_process_that_is_dead_for_sure_is_told_from_one_that_is_not() -> None:
    import subprocess
    import sys

    own = budget.process_name()
    assert not budget.is_dead(own)
    assert not budget.is_dead("elsewhere|1|1")
    assert not budget.is_dead("")
    source = "from outrider.database import budget; print(budget.process_name())"
    ended = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert budget.is_dead(ended.stdout.strip())
