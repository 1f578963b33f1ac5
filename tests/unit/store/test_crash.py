"""A process that ends at any point between append, seal, merge and expire: nothing lost or doubled.

The oracle is a plain dictionary. One test walks every point: it ends the work at each question to
the server, once before it is sent and once when the server has done it and nobody hears the answer.
Another kills a real process with SIGKILL.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from redis import ResponseError
from redis.connection import AbstractConnection as Connection

from outrider.store import connection
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable

    Kept = dict[int, dict[str, float]]

CHUNK_S = 7200
FIRST_S = 1_700_000_000 // CHUNK_S * CHUNK_S
FIRST = FIRST_S // 10


class Killed(BaseException):
    """The end of a process, as far as one can be had in another."""


class Bomb:
    """Ends the work at one question to the server, counted from the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.at, self.heard = 0, -1, False
        send: Any = Connection.send_packed_command

        def counted(itself: Connection, *args: Any, **more: Any) -> None:
            self.asked += 1
            last = self.asked == self.at
            if last and not self.heard:
                raise Killed
            send(itself, *args, **more)
            if last:
                answer: Any = itself.read_response
                with contextlib.suppress(ResponseError):
                    answer()  # the server has done it: nobody hears of it
                raise Killed

        monkeypatch.setattr(Connection, "send_packed_command", counted)


def row(tick: int) -> dict[str, float]:
    """The row of a tick: series come and go on the way."""
    values = {"a": float(tick), "b": tick / 8, "c": 1.0}
    if tick % 3 == 0:
        values["new"] = tick / 100
    if FIRST + 200 < tick < FIRST + 500:
        del values["b"]
    return values


Step = tuple[str, "Callable[[RedisStore], object]", "Callable[[Kept], object]"]


def append(tick: int, *, replace: bool = False) -> Step:
    values = {"a": -1.0, "only": 1.0} if replace else row(tick)

    def remember(kept: Kept) -> None:
        if replace or tick not in kept:
            kept[tick] = values

    return f"append {tick}", lambda to: to.append("h", tick, values, replace=replace), remember


def seal(after_s: float) -> Step:
    return f"seal {after_s}", lambda to: to.seal("h", FIRST_S + after_s), lambda _: None


def expire(after_s: float) -> Step:
    def forget(kept: Kept) -> None:
        for tick in [tick for tick in kept if tick * 10 < FIRST_S + after_s]:
            del kept[tick]

    return f"expire {after_s}", lambda to: to.expire("h", FIRST_S + after_s), forget


def work() -> list[Step]:
    """Two chunks of few rows, with late, double and replaced ones, sealed and merged on the way."""
    steps = [append(FIRST + place) for place in (0, 7, 3, 3, 59, 60, 61)]
    steps += [seal(610), append(FIRST + 5), append(FIRST + 7), seal(1210)]
    steps += [append(FIRST + place) for place in (130, 210, 260, 400, 5)]
    steps += [
        append(FIRST + 61, replace=True),
        seal(4210),
        append(FIRST + 719),
        append(FIRST + 720),
    ]
    steps += [
        seal(7210),
        append(FIRST + 300),
        append(FIRST + 400),
        append(FIRST + 719, replace=True),
    ]
    steps += [seal(7210), append(FIRST + 800), append(FIRST + 1439), seal(14410), expire(7200)]
    return [*steps, append(FIRST + 1441), seal(15010), seal(15010)]


def held(store: RedisStore) -> Kept:
    """All that a store says it has, asked for in each of the ways there are."""
    kept: Kept = {tick: {} for tick in store.ticks("h", 0, FIRST_S * 2)}
    window = store.window("h", 0, FIRST_S * 2)
    assert sorted(kept) == [round(at_s / 10) for at_s in window.times_s.tolist()]
    for name in window.names:
        times, values = store.read("h", name, 0, FIRST_S * 2)
        for at_s, value in zip(times.tolist(), values.tolist(), strict=True):
            kept[round(at_s / 10)][name] = value
    return kept


def fresh(url: str) -> RedisStore:
    client = connection.connect(url)
    client.ping()  # the handshake is no part of the work
    return RedisStore("", client=client)


@pytest.mark.parametrize("heard", [False, True], ids=["before it is sent", "before it is answered"])
def test_work_that_ends_at_any_point_loses_and_doubles_nothing(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    bomb = Bomb(monkeypatch)
    steps, point = work(), 0
    went_through: set[str] = set()
    while True:
        point, bomb.at = point + 1, -1
        with connection.connect(valkey_url) as client:
            client.flushall()
        kept: Kept = {}
        store, crashed = fresh(valkey_url), False
        bomb.asked, bomb.at, bomb.heard = 0, point, heard
        for name, act, remember in steps:
            before = dict(kept)
            remember(kept)
            try:
                act(store)
            except Killed:
                crashed = True
                went_through.add(name.split()[0])
                store = fresh(valkey_url)
                assert held(store) in (before, kept), (point, name)
                act(store)  # delivered again
                assert kept == held(store), (point, name)
        bomb.at = -1
        assert kept == held(store), point
        assert store.damaged == 0
        if not crashed:
            break

    assert went_through == {"append", "seal", "expire"}
    assert point > len(steps)


WORKER = """
import sys
from outrider.store.redis import RedisStore
store, first, tick = RedisStore(sys.argv[1], interval_s=10.0), int(sys.argv[2]), int(sys.argv[3])
while tick < first + 1000:
    store.append("h", tick, {"a": float(tick), "b": tick / 8, f"s{tick // 100 % 3}": 1.0})
    sys.stdout.write(f"{tick}\\n")
    sys.stdout.flush()
    if tick % 5 == 0:
        store.seal("h", tick * 10.0)
    tick += 1
"""


def test_a_worker_that_is_killed_again_and_again_loses_and_doubles_nothing(valkey_url: str) -> None:
    rng, tick, kills = random.Random(4), FIRST, 0
    while tick < FIRST + 1000:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, valkey_url, str(FIRST), str(max(FIRST, tick - 2))],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert worker.stdout is not None
        for _ in range(rng.randrange(90, 200)):
            told = worker.stdout.readline()
            if not told:
                break
            tick = int(told) + 1
        worker.send_signal(signal.SIGKILL)
        # What it was told to do and did not say is delivered again, and more than that.
        tick = max([tick, *(int(told) + 1 for told in worker.stdout.read().split())])
        worker.stdout.close()
        kills += worker.wait() == -signal.SIGKILL

    store = fresh(valkey_url)
    assert kills >= 3
    for name, of in (("a", 1.0), ("b", 8.0)):
        times, values = store.read("h", name, 0, FIRST_S * 2)
        assert [tick * 10.0 for tick in range(FIRST, FIRST + 1000)] == times.tolist()
        assert [tick / of for tick in range(FIRST, FIRST + 1000)] == values.tolist()
    store.seal("h", FIRST_S + 20_000)
    assert [*range(FIRST, FIRST + 1000)] == store.ticks("h", 0, FIRST_S * 2)
    assert store.damaged == 0
