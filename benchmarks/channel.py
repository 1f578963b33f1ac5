"""What the channel carries: messages of 200 bytes, Python at both ends, our client and our hub.

Two paths: from a bot to the supervisor (two processes), and from a bot through the hub to another
bot (three). Beside them pyzmq's PUSH/PULL over ipc, single messages and arrays of 100, and
multiprocessing.Queue; all in turn, so that a busy machine is busy for all. Every message is a dict,
encoded by the sender and decoded at the other end (msgspec for ours and for pyzmq, pickle for the
queue, which has no choice).

- ``msgs_per_s``: as many as can be, every one received. Where others use the machine it tells what
  share of it we got; ``busiest_us_flat_out``, the CPU time that a message costs the process with
  most to do, tells what a core of its own would carry.
- at 50,000 a second: latency from when a message was due, which is every 20 us; the sender looks
  each half millisecond what is due. ``cpu_us_per_msg`` is user and system time of all processes
  that take part, the sender's own pacing included; what pacing alone costs is told beside it.
- at 1,000 a second: latency from the call to the receiving function, one message at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import resource
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import zmq

from benchmarks import harness
from outrider.sdk.channel import Channel
from outrider.supervisor.channel.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    Sink = Callable[[Any, str], Any]

TOPIC, SEEN = "updates", "seen"
SIZE_BYTES = 200
ARRAY = 100
# So that each number, and each time, takes as many bytes as any other.
FIRST, UNTIMED = 1 << 20, -(1 << 40)
LOOK_EVERY_S = 0.5e-3
# Sent ahead of what the other bot has seen: less than the hub keeps for a subscriber.
AHEAD = 10_000
GIVE_UP_S = 60.0
FORK = multiprocessing.get_context("fork")


def message(number: int, at_ns: int) -> dict[str, Any]:
    """Return a message; ``n`` is -1 in the last. All others are equally long."""
    return {
        "n": number if number < 0 else FIRST + number, "at_ns": at_ns, "kind": "message",
        "chat": -1_001_234_567_890, "user": "somebody", "text": "x" * 129,
    }  # fmt: skip


@dataclass
class Receiver:
    """Counts what arrives, and how long it took."""

    received: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    cpu_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    latencies_ns: list[int] = field(default_factory=list)

    def take(self, body: Any, _sender: str = "") -> None:
        if not self.received:
            self.first_s = time.perf_counter()
            self.cpu_s = cpu_s()
        self.received += 1
        if body["at_ns"] > 0:
            self.latencies_ns.append(time.perf_counter_ns() - body["at_ns"])
        if body["n"] < 0:
            self.last_s = time.perf_counter()
            self.cpu_s = cpu_s() - self.cpu_s
            self.ended.set()

    def result(self) -> dict[str, Any]:
        return {
            "received": self.received,
            "took_s": self.last_s - self.first_s,
            "cpu_s": self.cpu_s,
            "latencies_ns": sorted(self.latencies_ns),
        }


class Way(Protocol):
    """One way for messages; each method runs in a process of its own."""

    name: str
    flat_out: int  # messages of a run flat out

    def receive(self, folder: Path, ready: Any) -> dict[str, Any]: ...
    def sender(self, folder: Path) -> tuple[Callable[[Any], None], Callable[[], None]]: ...
    def between(self, folder: Path, ready: Any, over: Any) -> dict[str, Any] | None: ...


class ToSupervisor:
    """Bot to supervisor: the supervisor's own function is called in its event loop."""

    name = "bot -> supervisor"
    flat_out = 500_000

    def receive(self, folder: Path, ready: Any) -> dict[str, Any]:
        receiver = Receiver()
        asyncio.run(host(folder, ready, receiver.ended, receiver.take))
        return receiver.result()

    def sender(self, folder: Path) -> tuple[Callable[[Any], None], Callable[[], None]]:
        channel = Channel(str(folder / "c.sock"))
        channel.request("ping", bot="supervisor").result()

        def send(body: Any) -> None:
            while not channel.publish(TOPIC, body):
                channel.room().result()

        return send, channel.flush

    def between(self, folder: Path, ready: Any, over: Any) -> dict[str, Any] | None:
        del folder, over
        ready.set()
        return None


class ThroughHub(ToSupervisor):
    """Bot to bot: the hub passes on, the other bot's function is called in its channel's thread."""

    name = "bot -> hub -> bot"

    def receive(self, folder: Path, ready: Any) -> dict[str, Any]:
        receiver, channel = Receiver(), Channel(str(folder / "c.sock"))

        def take(body: Any, sender: str) -> None:
            receiver.take(body, sender)
            if receiver.received % (AHEAD // 8) == 0:
                channel.publish(SEEN, receiver.received, urgent=True)

        channel.subscribe(TOPIC, take)
        channel.request("ping", bot="supervisor").result()
        ready.set()
        receiver.ended.wait(GIVE_UP_S)
        channel.close()
        return receiver.result()

    def sender(self, folder: Path) -> tuple[Callable[[Any], None], Callable[[], None]]:
        channel = Channel(str(folder / "c.sock"))
        more, seen, sent = threading.Event(), [0], 0

        def saw(count: int, _: str) -> None:
            seen[0] = count
            more.set()

        channel.subscribe(SEEN, saw)
        channel.request("ping", bot="supervisor").result()

        def send(body: Any) -> None:
            nonlocal sent
            while sent - seen[0] > AHEAD:
                channel.flush()
                more.clear()
                if sent - seen[0] > AHEAD:
                    more.wait(1.0)
            sent += 1
            while not channel.publish(TOPIC, body):
                channel.room().result()

        return send, channel.flush

    def between(self, folder: Path, ready: Any, over: Any) -> dict[str, Any] | None:
        return asyncio.run(host(folder, ready, over, None))


async def host(folder: Path, ready: Any, over: Any, sink: Sink | None) -> dict[str, Any]:
    """Run a hub until it is over; return its CPU time and what it dropped."""
    hub = Hub(
        folder / "c.sock",
        who=lambda pid: (f"bot-{pid}", "bot"),
        known=lambda *_: True,
        tell=print,
    )
    hub.open()
    if sink:
        hub.desk.subscribe(TOPIC, sink)
    before = cpu_s()
    ready.set()
    deadline_s = time.monotonic() + GIVE_UP_S
    while not over.is_set() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - another process's
        await asyncio.sleep(0.02)
    said = {"cpu_s": cpu_s() - before, "dropped": hub.snapshot()["totals"]["dropped"]}
    hub.close()
    return said


class Zmq:
    """pyzmq PUSH/PULL over ipc, ``array`` messages in each of its own."""

    flat_out = 500_000

    def __init__(self, array: int = 1) -> None:
        self.array = array
        self.name = f"pyzmq {zmq.__version__}" + (f", arrays of {array}" if array > 1 else "")

    def receive(self, folder: Path, ready: Any) -> dict[str, Any]:
        receiver = Receiver()
        with zmq.Context() as context, context.socket(zmq.PULL) as pull:
            pull.bind(f"ipc://{folder}/z.sock")
            ready.set()
            while not receiver.ended.is_set():
                said = msgspec.msgpack.decode(pull.recv())
                for body in said if self.array > 1 else (said,):
                    receiver.take(body)
        return receiver.result()

    def sender(self, folder: Path) -> tuple[Callable[[Any], None], Callable[[], None]]:
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.connect(f"ipc://{folder}/z.sock")
        encode, gathered = msgspec.msgpack.Encoder().encode, []

        def send(body: Any) -> None:
            gathered.append(body)
            if len(gathered) == self.array:
                flush()

        def send_one(body: Any) -> None:
            push.send(encode(body))

        def flush() -> None:
            if gathered:
                push.send(encode(gathered))
                gathered.clear()

        def end() -> None:
            flush()
            push.close()
            context.term()

        return send if self.array > 1 else send_one, end

    def between(self, folder: Path, ready: Any, over: Any) -> dict[str, Any] | None:
        del folder, over
        ready.set()
        return None


class Queue(Zmq):
    """multiprocessing.Queue."""

    flat_out = 100_000

    def __init__(self) -> None:
        self.name = "multiprocessing.Queue"
        self.queue: Any = FORK.Queue(10_000)

    def receive(self, folder: Path, ready: Any) -> dict[str, Any]:
        del folder
        receiver = Receiver()
        ready.set()
        while not receiver.ended.is_set():
            receiver.take(self.queue.get())
        return receiver.result()

    def sender(self, folder: Path) -> tuple[Callable[[Any], None], Callable[[], None]]:
        del folder

        def end() -> None:
            self.queue.close()
            self.queue.join_thread()

        return self.queue.put, end


def flat_out(send: Callable[[Any], None], many: int) -> None:
    for number in range(many):
        send(message(number, UNTIMED))


def paced(send: Callable[[Any], None], many: int, rate: int) -> None:
    """Send what is due, with the time at which it was."""
    start_ns, period_ns = time.perf_counter_ns(), 1_000_000_000 // rate
    number = 0
    while number < many:
        due = min(many, (time.perf_counter_ns() - start_ns) // period_ns + 1)
        while number < due:
            send(message(number, start_ns + number * period_ns))
            number += 1
        time.sleep(LOOK_EVERY_S)


def one_by_one(send: Callable[[Any], None], many: int, rate: int) -> None:
    """Send at a rate, with the time of the call."""
    for number in range(many):
        time.sleep(1 / rate)
        send(message(number, time.perf_counter_ns()))


def run(way: Way, work: Callable[..., None], *arguments: int) -> dict[str, Any]:
    """Send one way, and return what the receiver saw and what all of it cost."""
    with tempfile.TemporaryDirectory(prefix="channel-") as name:
        folder = Path(name)
        ready, listening, over = FORK.Event(), FORK.Event(), FORK.Event()

        def send() -> dict[str, Any]:
            sending, end = way.sender(folder)
            before = cpu_s()
            work(sending, *arguments)
            sending(message(-1, UNTIMED))
            end()
            return {"cpu_s": cpu_s() - before}

        between = Child(lambda: way.between(folder, ready, over))
        ready.wait(GIVE_UP_S)
        receiving = Child(lambda: way.receive(folder, listening))
        listening.wait(GIVE_UP_S)
        sent = Child(send)
        found: dict[str, Any] = receiving.result()
        over.set()
        middle = between.result() or {"cpu_s": 0.0}
        each_s = [found["cpu_s"], sent.result()["cpu_s"], middle["cpu_s"]]
        found["cpu_s"], found["busiest_s"] = sum(each_s), max(each_s)
        found["dropped"] = middle.get("dropped", 0)
    return found


class Child:
    """Runs a function in a process of its own, and hands over what it returns."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._here, there = FORK.Pipe()

        def run() -> None:
            gc.collect()
            gc.freeze()
            there.send(work())

        self._process = FORK.Process(target=run, daemon=True)
        self._process.start()

    def result(self) -> Any:
        """Wait for it."""
        if not self._here.poll(GIVE_UP_S):
            self._process.kill()
            raise SystemExit("a process of the benchmark gave no result.")
        said = self._here.recv()
        self._process.join(GIVE_UP_S)
        return said


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(way: Way, *, scale: float) -> dict[str, float]:
    """Return the figures of one way, once."""
    many = int(way.flat_out * scale)
    most = run(way, flat_out, many)
    assert most["received"] == many + 1, f"{way.name}: {most['received']} of {many + 1} arrived"
    found = {
        "msgs_per_s": most["received"] / most["took_s"],
        "cpu_us_flat_out": 1e6 * most["cpu_s"] / most["received"],
        "busiest_us_flat_out": 1e6 * most["busiest_s"] / most["received"],
    }
    if getattr(way, "array", 1) > 1:  # fixed arrays wait until they are full, however long it takes
        return found
    many = int(150_000 * scale)
    fast = run(way, paced, many, 50_000)
    found |= {
        "rate_at_50k": fast["received"] / fast["took_s"],
        "p50_ms_at_50k": quantile(fast["latencies_ns"], 0.5) / 1e6,
        "p99_ms_at_50k": quantile(fast["latencies_ns"], 0.99) / 1e6,
        "cpu_us_per_msg": 1e6 * fast["cpu_s"] / fast["received"],
    }
    slow = run(way, one_by_one, int(2000 * scale), 1000)
    return found | {
        "p50_us_at_1k": quantile(slow["latencies_ns"], 0.5) / 1e3,
        "p99_us_at_1k": quantile(slow["latencies_ns"], 0.99) / 1e3,
    }


def pacing_us(scale: float) -> float:
    """Return what pacing at 50,000 a second costs by itself, for each message."""

    def work() -> float:
        before = cpu_s()
        paced(lambda _: None, many, 50_000)
        return cpu_s() - before

    many = int(100_000 * scale)
    return 1e6 * float(Child(work).result()) / many


def quantile(ordered: list[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    chosen = harness.options(__doc__ or "")
    runs, scale = (2, 0.3) if chosen.quick else (5, 1.0)
    assert len(msgspec.msgpack.encode(message(1, 2**40))) == SIZE_BYTES
    found: dict[str, dict[str, list[float]]] = {}
    pacing = []
    for _ in range(runs):
        ways: list[Way] = [ToSupervisor(), ThroughHub(), Zmq(), Zmq(ARRAY), Queue()]
        for way in ways:
            for name, value in measure(way, scale=scale).items():
                found.setdefault(way.name, {}).setdefault(name, []).append(value)
        pacing.append(pacing_us(scale))
    told = {
        way: {name: harness.spread(values, 2) for name, values in figures.items()}
        for way, figures in found.items()
    }
    ours = told.pop(ToSupervisor.name)
    through = told.pop(ThroughHub.name)
    names = ("msgs_per_s", "p99_ms_at_50k", "cpu_us_per_msg", "p50_us_at_1k")
    figures: dict[str, Any] = {name: ours[name]["median"] for name in names}
    figures |= {f"{name}_through_hub": through[name]["median"] for name in names}
    figures["pacing_us_per_msg"] = harness.spread(pacing, 2)["median"]
    figures["spread"] = {ToSupervisor.name: ours, ThroughHub.name: through}
    harness.finish("channel", figures, told)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
