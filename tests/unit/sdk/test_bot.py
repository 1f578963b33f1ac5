from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import outrider
from outrider import sketch
from outrider.errors import BadArgument
from outrider.metrics import frame as frames
from outrider.sdk import bot as bots
from outrider.sdk import ring
from outrider.sdk.bot import Bot
from outrider.sdk.lag import LoopLag
from outrider.sdk.transports import ToRedis
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from outrider.metrics.frame import Frame

SOON_S = 10.0


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that has made no bot yet; frames go out when asked, not by themselves."""
    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(bots, "FLUSH_S", 3600.0)


class Sent:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.arrived = threading.Event()

    def __call__(self, message: bytes) -> bool:
        self.messages.append(message)
        self.arrived.set()
        return True

    @property
    def last(self) -> Frame:
        return frames.decode(self.messages[-1])


@pytest.fixture
def sent() -> Sent:
    return Sent()


@pytest.fixture
def bot(sent: Sent) -> Bot:
    return Bot("canary", transport=sent)


class Receiver:
    """The supervisor's socket, which may be opened anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(SOON_S)

    def receive(self) -> Frame:
        return frames.decode(self.socket.recv(frames.MOST_BYTES))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "t.sock")
    yield receiver
    receiver.socket.close()


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60, check=True, env=os.environ | env,
    )  # fmt: skip


def test_counters_gauges_and_timings_are_sent_as_totals(bot: Bot, sent: Sent) -> None:
    bot.count("updates")
    bot.count("updates", 2)
    bot.gauge("queue", 3)
    bot.gauge("queue", 5)
    bot.observe("handle", 0.25)
    bot.observe("handle", 0.5)
    for _ in range(2):
        bot.flush()

        assert (sent.last.bot, sent.last.pid, sent.last.ready) == ("canary", os.getpid(), False)
        assert sent.last.counters == {"updates": 3}
        assert sent.last.gauges == {"queue": 5}
        assert sent.last.timings["handle"][:2] == (2, 0.75)
        assert abs(time.time() - sent.last.at_s) < SOON_S


def test_the_longest_duration_is_that_since_the_last_frame(bot: Bot, sent: Sent) -> None:
    bot.observe("handle", 0.5)
    bot.flush()
    bot.observe("handle", 0.25)
    assert sent.last.timings["handle"] == (1, 0.5, 0.5)

    bot.flush()
    assert sent.last.timings["handle"] == (2, 0.75, 0.25)


def test_a_block_that_raises_is_timed_and_counted(bot: Bot, sent: Sent) -> None:
    with bot.timed("handle"):
        pass
    with pytest.raises(KeyError), bot.timed("handle"):
        raise KeyError("x")
    bot.flush()

    assert sent.last.timings["handle"][0] == 2
    assert sent.last.counters == {"handle.errors": 1}


def test_a_block_is_timed_across_await(bot: Bot, sent: Sent) -> None:
    async def handle() -> None:
        with bot.timed("handle"):
            await asyncio.sleep(0.05)

    async def both() -> None:
        await asyncio.gather(handle(), handle())

    asyncio.run(both())
    bot.flush()

    count, total_s, longest_s = sent.last.timings["handle"]
    assert count == 2
    assert total_s >= 0.1 > longest_s - 0.05 >= 0


@pytest.mark.parametrize("kind", ["count", "gauge", "observe"])
def test_names_that_hold_user_input_do_not_grow_without_bound(
    kind: str, bot: Bot, sent: Sent
) -> None:
    note: Callable[[str, float], None] = getattr(bot, kind)
    for number in range(3 * bots.MOST_NAMES):
        note(f"user-{number}", 1)
    note("user-0", 1)
    bot.flush()
    field = {"count": "counters", "gauge": "gauges", "observe": "timings"}[kind]
    held: dict[str, Any] = getattr(sent.last, field)

    assert len(held) == bots.MOST_NAMES + 1
    if kind == "count":
        assert (held["user-0"], held[bots.OVERFLOW]) == (2, 2 * bots.MOST_NAMES)


@pytest.mark.parametrize("kind", ["count", "gauge", "observe"])
def test_a_frame_full_of_long_names_still_fits(kind: str, bot: Bot, sent: Sent) -> None:
    for number in range(bots.MOST_NAMES):
        for each in ("count", "gauge", "observe"):
            getattr(bot, each)(f"{number}-" + "x" * 100_000, 1)
    bot.flush()

    assert len(sent.messages[-1]) < frames.MOST_BYTES
    assert bot.dropped == 0


@pytest.mark.parametrize(
    ("name", "sent_as"),
    [("a\nb", "a?b"), ("\x1b[2J", "?[2J"), ("\ud800", "?"), (5, "5"), ("x" * 70, "x" * 64)],
)
def test_a_name_is_made_fit_for_frames_and_pages(
    name: Any, sent_as: str, bot: Bot, sent: Sent
) -> None:
    bot.count(name)
    bot.count(name)
    bot.flush()

    assert sent.last.counters == {sent_as: 2}


@pytest.mark.parametrize("value", [Decimal(2), np.float32(2), np.int64(2), 2, "2"])
def test_any_kind_of_number_is_taken(value: Any, bot: Bot, sent: Sent) -> None:
    bot.count("c", value)
    bot.gauge("g", value)
    bot.observe("t", value)
    bot.flush()

    assert (sent.last.counters, sent.last.gauges) == ({"c": 2.0}, {"g": 2.0})
    assert sent.last.timings == {"t": (1, 2.0, 2.0)}


def test_numbers_without_bound_are_sent(bot: Bot, sent: Sent) -> None:
    bot.count("c", 10**30)
    bot.gauge("g", math.inf)
    bot.gauge("n", math.nan)
    bot.flush()

    assert sent.last.counters == {"c": 1e30}
    assert sent.last.gauges["g"] == math.inf
    assert math.isnan(sent.last.gauges["n"])


@pytest.mark.parametrize("kind", ["count", "gauge", "observe"])
def test_what_is_no_number_is_refused_at_the_call_and_harms_nothing(
    kind: str, bot: Bot, sent: Sent
) -> None:
    bot.count("c")
    with pytest.raises(TypeError):
        getattr(bot, kind)("c", None)
    bot.flush()

    assert sent.last.counters == {"c": 1}


def test_sources_are_asked_before_each_frame_and_a_broken_one_silences_nobody(
    bot: Bot, sent: Sent
) -> None:
    bot.add_source(lambda: {"pool.used": 3, "x\n": Decimal(1)})  # type: ignore[dict-item]
    bot.add_source(lambda: {"broken": None})  # type: ignore[dict-item]
    bot.add_source(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    bot.add_source(lambda: {"last": 4})
    bot.gauge("queue", 1)
    bot.flush()

    assert sent.last.gauges == {"queue": 1, "pool.used": 3, "x?": 1, "last": 4}


@pytest.mark.parametrize("away", [lambda _: False, lambda _: 1 / 0])
def test_frames_that_nobody_takes_wait_and_are_delivered_in_order(away: Any) -> None:
    bot = Bot("canary", transport=away)
    for level in (3, 5):
        bot.gauge("queue", level)
        bot.flush()
    assert (bot.missed, bot.dropped) == (2, 0)

    taken = Sent()
    bot._send = taken
    bot.gauge("queue", 8)
    bot.flush()
    now, *missed = map(frames.decode, taken.messages)
    assert (now.number, now.gauges) == (3, {"queue": 8})
    assert [(each.number, each.gauges["queue"]) for each in missed] == [(1, 3), (2, 5)]
    assert missed[0].at_s <= missed[1].at_s <= now.at_s
    assert (bot.missed, bot.dropped) == (0, 0)


def test_an_outage_loses_nothing_that_was_counted_however_long_it_is() -> None:
    class Away:
        taken = Sent()
        here = False

        def __call__(self, message: bytes) -> bool:
            return self.here and self.taken(message)

    away = Away()
    bot = Bot("canary", transport=away)
    for number in range(5 * ring.MOST_FRAMES):
        bot.count("updates")
        bot.observe("handle", number + 1.0)
        bot.flush()
    assert 0 < bot.missed <= ring.MOST_FRAMES
    assert bot.missed + bot.dropped == 5 * ring.MOST_FRAMES

    away.here = True
    bot.flush()
    first = frames.decode(away.taken.messages[0])
    assert first.counters == {"updates": 600}
    assert first.timings["handle"][:2] == (600, 180_300.0)
    assert sketch.count(first.buckets["handle"]) == 600
    assert first.dropped == bot.dropped > 0
    assert len(away.taken.messages) == 1 + 600 - bot.dropped
    numbers = [frames.decode(message).number for message in away.taken.messages[1:]]
    assert numbers == sorted(numbers)
    assert max(numbers) - min(numbers) > 0.9 * 600


def test_what_is_taken_again_while_missed_frames_go_out_keeps_its_order() -> None:
    room: list[int] = []
    taken: list[int] = []

    def some(message: bytes) -> bool:
        number = frames.decode(message).number
        if len(taken) < room[-1]:
            taken.append(number)
        return taken[-1:] == [number]

    bot = Bot("canary", transport=some)
    for until in (0, 0, 0, 2, 2, 9):
        room.append(until)
        bot.flush()

    assert taken == [4, 1, 6, 2, 3, 5]
    assert (bot.missed, bot.dropped) == (0, 0)


def test_without_anybody_to_tell_everything_is_dropped_and_nothing_raised() -> None:
    bot = Bot("canary")
    bot.ready()
    bot.flush()

    assert bot.dropped >= 1


def test_readiness_is_told_at_once(bot: Bot, sent: Sent) -> None:
    bot.ready()

    assert sent.arrived.wait(SOON_S)
    assert sent.last.ready


def test_a_transport_that_hangs_does_not_hold_up_the_bot() -> None:
    release = threading.Event()

    def hang(message: bytes) -> bool:
        return release.wait(SOON_S)

    bot = Bot("canary", transport=hang)
    bot.ready()
    bot.count("updates")
    bot.ready()
    assert not release.is_set()
    release.set()


def test_frames_go_out_by_themselves(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    monkeypatch.setattr(bots, "FLUSH_S", 0.01)
    Bot("canary", transport=sent)

    assert sent.arrived.wait(SOON_S)
    monkeypatch.setattr(bots, "FLUSH_S", 3600.0)


def test_a_process_has_one_bot_of_a_name() -> None:
    first = Bot("canary")
    first.count("updates")

    assert Bot("canary") is first
    assert Bot("canary").dropped == first.dropped
    assert outrider.Bot("other") is not first
    assert bots.current() is Bot("other")


def test_the_supervisors_name_counts(monkeypatch: pytest.MonkeyPatch, sent: Sent) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary-2")
    Bot("canary", transport=sent).flush()

    assert sent.last.bot == "canary-2"
    assert frames.decode(sent.messages[-1])


@pytest.mark.parametrize("name", ["a.b", "a b", "a" * 64, "\n", "-a"])
def test_a_name_that_no_series_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(BadArgument, match="can't be called"):
        Bot(name)


def test_frames_reach_a_receiver_that_was_replaced(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_TELEMETRY", str(receiver.path))
    bot = Bot("canary")
    bot.flush()
    assert receiver.receive().bot == "canary"

    receiver.socket.close()
    bot.flush()
    receiver.path.unlink()
    bot.flush()
    assert bot.missed == 2

    receiver.open()
    bot.count("updates")
    bot.flush()
    assert receiver.receive().counters == {"updates": 1}
    assert [receiver.receive().number for _ in range(2)] == [2, 3]
    assert (bot.missed, bot.dropped) == (0, 0)


def test_a_receiver_that_does_not_read_does_not_hold_up_the_bot(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_TELEMETRY", str(receiver.path))
    bot = Bot("canary")
    for _ in range(1000):
        bot.flush()

    assert 0 < bot.missed <= ring.MOST_FRAMES
    assert 0 < bot.dropped < 1000
    assert receiver.receive().dropped == 0


def test_the_sending_thread_waits_for_room(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_TELEMETRY", str(receiver.path))
    monkeypatch.setattr(bots, "ROOM_WITHIN_S", SOON_S)
    bot = Bot("canary")
    while not bot.missed:
        bot.flush()
    bot.count("late")
    bot.ready()  # wakes the thread, which finds the queue full
    for _ in range(100):
        if receiver.receive().ready:
            break
    else:
        raise AssertionError("it did not wait")

    assert bot.dropped == 0


def test_a_bot_with_very_many_open_files_goes_on_speaking(receiver: Receiver) -> None:
    ended = run(
        """
import resource, threading, outrider
from outrider.sdk import bot as bots
from outrider.sdk import ring
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
held = [open("/dev/null") for _ in range(1100)]
bots.ROOM_WITHIN_S = 0.01
bot = outrider.Bot("canary")
while not bot.missed:
    bot.flush()
bot._post(tries=2)
print(bot.missed, bot._thread.is_alive())
""",
        OUTRIDER_TELEMETRY=str(receiver.path),
    )

    assert ended.stdout == "2 True\n"


def test_a_part_of_the_stack_says_once_that_it_is_ready(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_TELEMETRY", str(receiver.path))
    monkeypatch.setenv("OUTRIDER_BOT", "worker")
    bots.announce("other")
    said = receiver.receive()

    assert (said.bot, said.pid, said.ready) == ("worker", os.getpid(), True)
    assert bots.current() is None


def test_a_forked_child_has_numbers_of_its_own(receiver: Receiver) -> None:
    ended = run(
        """
import os, outrider
bot = outrider.Bot("canary")
bot.count("updates", 5)
bot.ready()
child = os.fork()
if child == 0:
    bot.count("children")
    bot.flush()
    os._exit(0)
os.waitpid(child, 0)
bot.count("updates")
print(child, os.getpid())
""",
        OUTRIDER_TELEMETRY=str(receiver.path),
    )
    child, parent = map(int, ended.stdout.split())
    seen: dict[int, Frame] = {}
    receiver.socket.setblocking(False)
    try:
        while True:
            said = receiver.receive()
            seen[said.pid] = said
    except BlockingIOError:
        pass

    assert set(seen) == {child, parent}
    assert (seen[child].counters, seen[child].ready) == ({"children": 1}, False)
    assert (seen[parent].counters, seen[parent].ready) == ({"updates": 6}, True)


def test_a_forked_child_keeps_its_handles_and_begins_at_nothing(receiver: Receiver) -> None:
    run(
        """
import os, outrider
bot = outrider.Bot("canary")
updates, handle = bot.counter("updates"), bot.timer("handle")
decorated = bot.timed("decorated")(lambda: None)
for name in range(1000):
    bot.count(str(name))
for _ in range(300):
    updates.add()
    handle.observe(0.5)
    decorated()
child = os.fork()
if child == 0:
    updates.add(2)
    handle.observe(0.25)
    decorated()
    for name in range(198):
        bot.count(f"child-{name}")
    bot.flush()
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
""",
        OUTRIDER_TELEMETRY=str(receiver.path),
    )
    said = receiver.receive()

    assert (said.number, said.counters.pop("updates")) == (1, 2)
    assert said.counters == {f"child-{name}": 1 for name in range(198)}
    assert said.timings["handle"] == (1, 0.25, 0.25)
    assert said.timings["decorated"][0] == 1
    assert sketch.count(said.buckets["handle"]) == 1


def test_a_child_of_a_process_whose_threads_count_is_not_held_up() -> None:
    ended = run(
        """
import os, sys, threading, outrider
from outrider.metrics import frame
sys.setswitchinterval(1e-6)
kept = []
bot = outrider.Bot("canary", transport=lambda message: kept.append(message) or True)
updates = bot.counter("updates")
def work():
    while True:
        updates.add()
        bot.count("names")
        bot.observe("handle", 0.5)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        kept.clear()
        for _ in range(1000):
            updates.add()
            bot.count("names")
            bot.observe("handle", 0.5)
        bot.flush()
        said = frame.decode(kept[-1])
        right = said.counters == {"updates": 1000, "names": 1000}
        os._exit(0 if right and said.timings == {"handle": (1000, 500.0, 0.5)} else 1)
    print(os.waitpid(child, 0)[1])
sys.stdout.flush()
os._exit(0)
"""
    )

    assert ended.stdout.split() == ["0"] * 20


def test_a_forked_child_goes_on_sending(receiver: Receiver) -> None:
    run(
        """
import os, time, outrider
from outrider.sdk import bot as bots
from outrider.sdk import ring
bots.FLUSH_S = 0.02
bot = outrider.Bot("canary")
if os.fork() == 0:
    bot.gauge("child", 1)
    time.sleep(0.3)
    os._exit(0)
os.wait()
""",
        OUTRIDER_TELEMETRY=str(receiver.path),
    )
    said = [receiver.receive() for _ in range(5)]

    assert any(each.gauges == {"child": 1} for each in said)


def test_the_last_numbers_are_sent_at_the_end(receiver: Receiver) -> None:
    run(
        "import outrider; outrider.Bot('canary').count('updates', 7)",
        OUTRIDER_TELEMETRY=str(receiver.path),
    )

    assert receiver.receive().counters == {"updates": 7}


def test_threads_count_together(bot: Bot, sent: Sent) -> None:
    def work() -> None:
        for _ in range(5000):
            bot.count("updates")
            bot.observe("handle", 0.5)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        bot.flush()
    bot.flush()

    assert sent.last.counters == {"updates": 20_000}
    assert sent.last.timings["handle"][:2] == (20_000, 10_000.0)


def test_a_real_loop_that_is_blocked_shows(bot: Bot, sent: Sent) -> None:
    async def block() -> None:
        bot.ready()
        await asyncio.sleep(0)
        time.sleep(LoopLag.PERIOD_S + 0.3)  # noqa: ASYNC251 - that is the fault
        bot.flush()

    asyncio.run(block())

    assert sent.last.loop_lag_s is not None
    assert sent.last.loop_lag_s >= 0.29


def test_the_loop_that_runs_now_is_watched(bot: Bot, sent: Sent) -> None:
    async def ready() -> float | None:
        bot.ready()
        time.sleep(LoopLag.PERIOD_S + 0.1)  # noqa: ASYNC251 - that is the fault
        bot.flush()
        return sent.last.loop_lag_s

    first, second = asyncio.run(ready()), asyncio.run(ready())

    assert first is not None
    assert second is not None
    assert min(first, second) >= 0.09


def test_a_bot_without_a_loop_has_no_lag(bot: Bot, sent: Sent) -> None:
    bot.ready()
    bot.flush()

    assert sent.last.loop_lag_s is None


def test_an_unsupervised_bot_leaves_its_frame_in_redis(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_HOST", "h")
    bot = Bot("canary")
    bot.count("updates")
    bot.flush()

    with connection.connect(valkey_url) as client:
        left: Any = client.hgetall(keys.frames("h"))
    assert frames.decode(left[b"canary"]).counters == {"updates": 1}
    assert bot.dropped == 0
    assert isinstance(bot._send, ToRedis)
    bot._send._client.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "nonsense", "redis://h:x/0"])
def test_a_redis_that_cannot_be_reached_costs_frames_only(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", url)
    bot = Bot("canary")
    bot.flush()

    assert bot.missed >= 1


@pytest.mark.parametrize(
    "code",
    [
        "import outrider",
        "import outrider; bot = outrider.Bot('canary'); bot.ready(); bot.count('x')",
    ],
)
def test_a_bots_start_stays_cheap(code: str) -> None:
    ended = run(f"{code}\nimport sys; print(*sys.modules)")
    heavy = {
        "asyncio",
        "typing",
        "re",
        "inspect",
        "socket",
        "msgspec",
        "numpy",
        "sqlalchemy",
        "redis",
        "pydantic",
        "celery",
        "starlette",
        "click",
        "psutil",
    }

    assert not heavy & set(ended.stdout.split())


def test_the_first_word_of_being_ready_waits_for_no_thread() -> None:
    bot_says: list[tuple[str, bool]] = []

    class Room:
        def __call__(self, message: bytes) -> bool:
            bot_says.append((threading.current_thread().name, frames.decode(message).ready))
            return True

        def wait_for_room(self, within_s: float) -> bool:
            return False

    bot = Bot("prompt", transport=Room())
    bot.ready()
    bot.ready()

    said_ready = [thread for thread, ready in bot_says if ready]
    assert said_ready[:1] == [threading.current_thread().name]
    assert threading.current_thread().name not in said_ready[1:]


def test_what_could_not_be_told_at_once_is_told_by_the_thread() -> None:
    told = threading.Event()

    class Full:
        def __call__(self, message: bytes) -> bool:
            if threading.current_thread().name == "outrider-flush" and frames.decode(message).ready:
                told.set()
            return False

        def wait_for_room(self, within_s: float) -> bool:
            return False

    Bot("patient", transport=Full()).ready()
    assert told.wait(20)
