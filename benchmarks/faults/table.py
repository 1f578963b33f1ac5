"""The faults of `benchmarks.diagnose`: what is done, and what a diagnosis must name for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from benchmarks.faults import inside, shop
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class World(Protocol):
    """What a fault may touch."""

    folder: Path  # the fleet's state
    redis_pid: int  # of the Redis that the bots use; Outrider has its own
    redis_url: str
    database_url: str

    def pid_of(self, bot: str) -> int:
        """Return the process of a bot."""
        ...


@dataclass(frozen=True)
class Fault:
    """What is done, and what must be said of it.

    ``right`` are the parts of which one must be named first; ``series`` is a pattern of what a
    ranker of series may name, generous to it.
    """

    kind: str
    name: str
    right: frozenset[str]
    series: str
    make: Callable[[World], AbstractContextManager[None]]


def _fault(
    kind: str, name: str, right: str, series: str,
    make: Callable[[World], AbstractContextManager[None]],
) -> Fault:  # fmt: skip
    return Fault(kind, name, frozenset(right.split()), series, make)


@contextlib.contextmanager
def _programs(*argv: str, count: int = 1, waits: bool = False, **env: str) -> Iterator[None]:
    """Run programs while the block lasts; with ``waits``, until each said a line."""
    running = [
        subprocess.Popen(
            argv, env={**os.environ, **env},
            stdout=subprocess.PIPE if waits else subprocess.DEVNULL,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for process in running:
            if process.stdout:
                process.stdout.readline()
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(20)
            if process.stdout:
                process.stdout.close()


@contextlib.contextmanager
def _repeating(work: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Do something again and again in a thread, until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            work()
            ended.wait(every_s)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _in_bot(bot: str, **what: Any) -> Callable[[World], AbstractContextManager[None]]:
    return lambda world: inside.order(bot, world.folder, **what)


def _cpu(processes: int) -> Callable[[World], AbstractContextManager[None]]:
    return lambda _world: _programs(sys.executable, "-c", "while True: pass", count=processes)


def _locks(table: str, seconds: float) -> Callable[[World], AbstractContextManager[None]]:
    """Hold a lock on a table for a while, again and again, as a migration does."""

    def make(world: World) -> AbstractContextManager[None]:
        def lock() -> None:
            with psycopg.connect(world.database_url) as connected:
                connected.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                time.sleep(seconds)

        return _repeating(lock, every_s=0.1)

    return make


def _busy_redis(world: World) -> AbstractContextManager[None]:
    client = connection.connect(world.redis_url, timeout_s=20)
    script = "local n = 0 for i = 1, 3e7 do n = n + i end return n"

    def work() -> None:
        with contextlib.suppress(Exception):
            client.eval(script, 0)

    return _repeating(work, every_s=0.05)


@contextlib.contextmanager
def _cold(bots: tuple[str, ...], world: World) -> Iterator[None]:
    client = connection.connect(world.redis_url)

    def flush() -> None:
        for key in client.scan_iter("or:cache:v:*", count=1000):
            client.delete(key)

    with contextlib.ExitStack() as stack:
        for bot in bots:
            stack.enter_context(inside.order(bot, world.folder, do="forget"))
        stack.enter_context(_repeating(flush, every_s=0.1))
        yield


def _flood(per_s: float, seconds: float) -> Callable[[World], AbstractContextManager[None]]:
    def make(world: World) -> AbstractContextManager[None]:
        shop.app.conf.update(broker_url=world.redis_url)
        batch = max(1, int(per_s / 10))

        def send() -> None:
            for _ in range(batch):
                shop.order.delay(seconds)

        return _repeating(send, every_s=0.1)

    return make


def _api(fault: str) -> Callable[[World], AbstractContextManager[None]]:
    return lambda world: _programs(
        sys.executable, "-m", "benchmarks.faults.api", str(world.folder / "botapi.url"), fault,
        waits=True,
    )  # fmt: skip


_OF_CPU = r"host\.(cpu|load|pressure\.cpu).*"
_OF_DATABASE = r"db\.server\..*|bot\.\w+\.db\.(query|queries).*"
_OF_REDIS = r"redis\..*|bot\.\w+\.cache\.\w+\.(away|fallbacks|unsent).*"
_OF_API = r"bot\.(canary|ledger|courier)\.(told_to_wait|handle_update|errors).*"
_ONE_DATABASE = "database queries:canary"


def _of_bot(bot: str, what: str) -> str:
    return rf"bot\.{bot}\.({what}).*"


# In turn, so that neighbours are of different kinds, and the first eight are one of each.
FAULTS = (
    _fault("CPU hog", "3 programs that spin", "outside cpu", _OF_CPU, _cpu(3)),
    _fault("memory leak", "courier, 6 MB/s", "leak:courier", _of_bot("courier", "rss|pss|io|up|restarts|uptime"), _in_bot("courier", do="leak", bytes_per_s=6_000_000)),
    _fault("slow query", "lock on players, 0.7 s", _ONE_DATABASE, _OF_DATABASE, _locks("players", 0.7)),
    _fault("exhausted pool", "ledger gives nothing back", "pool:ledger", _of_bot("ledger", r"db\.pool"), _in_bot("ledger", do="hold")),
    _fault("cold cache", "courier forgets", "cache:courier.parcels", _of_bot("courier", "cache"), lambda world: _cold(("courier",), world)),
    _fault("stalled Redis", "stopped", "redis", _OF_REDIS, lambda world: _stopped(world.redis_pid)),
    _fault("full queue", "200 tasks a second", "queue:shop/celery", r"celery\.shop\..*", _flood(200, 0.02)),
    _fault("noisy neighbour", "prices spins", "process:prices", _of_bot("prices", "cpu|switches"), _in_bot("prices", do="hog")),
    _fault("slow API", "0.9 s a call", "api", _OF_API, _api("slow")),
    _fault("API refuses", "429 to 70 % of calls", "api", _OF_API, _api("refuse")),
    _fault("stopped bot", "courier", "life:courier", _of_bot("courier", "state|heartbeat|up|cpu|updates"), lambda world: _stopped(world.pid_of("courier"))),
    _fault("CPU hog", "4 programs that spin", "outside cpu", _OF_CPU, _cpu(4)),
    _fault("memory leak", "ledger, 8 MB/s", "leak:ledger", _of_bot("ledger", "rss|pss|io|up|restarts|uptime"), _in_bot("ledger", do="leak", bytes_per_s=8_000_000)),
    _fault("slow query", "lock on expenses, 1.5 s", "database queries:ledger", _OF_DATABASE, _locks("expenses", 1.5)),
    _fault("exhausted pool", "courier gives nothing back", "pool:courier", _of_bot("courier", r"db\.pool"), _in_bot("courier", do="hold")),
    _fault("stalled Redis", "busy with a script", "redis", _OF_REDIS, _busy_redis),
    _fault("full queue", "30 slow tasks a second", "queue:shop/celery", r"celery\.shop\..*", _flood(30, 0.5)),
    _fault("noisy neighbour", "ledger spins", "process:ledger", _of_bot("ledger", "cpu|switches|loop"), _in_bot("ledger", do="hog")),
    _fault("blocked loop", "canary, 0.8 s", "loop:canary", _of_bot("canary", "loop|heartbeat"), _in_bot("canary", do="block", seconds=0.8)),
    _fault("slow API", "0.9 s a call", "api", _OF_API, _api("slow")),
    _fault("memory leak", "prices, 5 MB/s", "leak:prices", _of_bot("prices", "rss|pss|io|up|restarts|uptime"), _in_bot("prices", do="leak", bytes_per_s=5_000_000)),
    _fault("CPU hog", "3 programs that spin", "outside cpu", _OF_CPU, _cpu(3)),
    _fault("slow query", "lock on dialogues, 1 s", "database queries:courier", _OF_DATABASE, _locks("dialogues", 1.0)),
    _fault("cold cache", "courier forgets", "cache:courier.parcels", _of_bot("courier", "cache"), lambda world: _cold(("courier",), world)),
    _fault("exhausted pool", "canary gives nothing back", "pool:canary", _of_bot("canary", r"db\.pool"), _in_bot("canary", do="hold")),
    _fault("noisy neighbour", "courier spins", "process:courier", _of_bot("courier", "cpu|switches|loop"), _in_bot("courier", do="hog")),
    _fault("stalled Redis", "stopped", "redis", _OF_REDIS, lambda world: _stopped(world.redis_pid)),
    _fault("full queue", "200 tasks a second", "queue:shop/celery", r"celery\.shop\..*", _flood(200, 0.02)),
    _fault("stopped bot", "the Bot API", "life:telegram", _of_bot("telegram", "state|heartbeat|up|cpu|updates|requests"), lambda world: _stopped(world.pid_of("telegram"))),
    _fault("cold cache", "canary and courier forget", "cache:courier.parcels cache:canary.leaderboard cache:canary.profiles", r"bot\.(canary|courier)\.cache.*", lambda world: _cold(("canary", "courier"), world)),
    _fault("slow query", "lock on all tables, 1 s", "database", _OF_DATABASE, _locks("players, expenses, dialogues", 1.0)),
    _fault("memory leak", "canary, 15 MB/s", "leak:canary", _of_bot("canary", "rss|pss|io|up|restarts|uptime"), _in_bot("canary", do="leak", bytes_per_s=15_000_000)),
)  # fmt: skip
