"""Leased pools on a real PostgreSQL and a real Valkey, in processes that live, die and pause."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from outrider.database import budget, planning
from outrider.database import engine as engines
from outrider.database.budget import Budget, Part
from outrider.database.resizable import ResizablePool
from outrider.store import connection
from tests.servers import postgres
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WALL = 8
BOT = """
import random, sys, threading, time
import sqlalchemy as sa
import outrider

engine = outrider.create_engine(sys.argv[1])
choose = random.Random(int(sys.argv[2]))

def work():
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
                time.sleep(choose.expovariate(50))
        except sa.exc.SQLAlchemyError:
            time.sleep(0.05)
        time.sleep(choose.expovariate(100))

for _ in range(10):
    threading.Thread(target=work, daemon=True).start()
print("begun", flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def server(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(postgres_binaries) as started:
        yield started


@pytest.fixture
def valkey() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def made(valkey: Server, server: postgres.Postgres) -> Iterator[Budget]:
    """A wall of 8: floors of 1 for three bots, a surge of 1, 4 to lend."""
    with connection.connect(valkey.url) as client:
        name = budget.server_of(sa.make_url(server.url))
        made = Budget(client, name)
        publish(made)
        yield made


def publish(made: Budget) -> None:
    made.publish(WALL, 1, {name: Part(1, 2) for name in ("ape", "bee", "cat")})
    made.client.hset(made._keys[0], "frozen_until_ms", 0)


@pytest.fixture
def bot(valkey: Server, server: postgres.Postgres) -> Iterator[Callable[[str], ResizablePool]]:
    opened: list[sa.Engine] = []

    def make(name: str) -> ResizablePool:
        engine = engines.create_engine(
            server.url, application_name=name, leased=engines.Leased(valkey.url, 1), pool_timeout=60
        )
        opened.append(engine)
        assert isinstance(engine.pool, ResizablePool)
        lease = engine.pool.watcher.lease  # type: ignore[attr-defined]
        lease.instance = name  # of several engines in a process only the first is the bot's own
        lease.base = 1
        return engine.pool

    yield make
    for engine in opened:
        engine.pool.watcher.lease.close()  # type: ignore[attr-defined]
        engine.dispose()


def eventually(condition: Callable[[], Any], within_s: float = 60) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def take(pool: ResizablePool, count: int) -> list[Any]:
    """Check out so many, each in a thread, and return them when all have come."""
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(pool.connect())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == count
    return got


def give_back(connections: list[Any]) -> None:
    for each in connections:
        each.close()


def test_a_bot_grows_when_its_callers_wait_up_to_what_is_free(
    made: Budget, bot: Callable[[str], ResizablePool]
) -> None:
    pool = bot("ape")
    held = take(pool, 5)
    assert pool.use().held == 5
    assert made.state()["extra"] == 4
    give_back(held)


def test_what_one_has_idle_goes_to_another_that_waits(
    made: Budget, bot: Callable[[str], ResizablePool]
) -> None:
    ape, bee = bot("ape"), bot("bee")
    give_back(take(ape, 5))
    assert ape.use().idle == 5
    held = take(bee, 5)
    assert bee.use().held == 5
    eventually(lambda: ape.use().held == 1)
    assert made.state()["extra"] <= 4
    give_back(held)


def test_who_is_below_its_share_takes_back_what_is_in_use_above_another_s(
    made: Budget, bot: Callable[[str], ResizablePool]
) -> None:
    ape, bee = bot("ape"), bot("bee")
    held = take(ape, 5)
    waiting = threading.Thread(target=lambda: give_back(take(bee, 2)))
    waiting.start()
    eventually(lambda: any(each.instance == "bee" and each.cap < 2 for each in made.holders()))
    eventually(lambda: ape.use().cap < 5)
    held.pop().close()
    waiting.join(60)
    assert not waiting.is_alive()
    give_back(held)


def test_without_redis_a_bot_falls_to_its_floor_and_comes_back(
    made: Budget, valkey: Server, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch,
    bot: Callable[[str], ResizablePool],
) -> None:  # fmt: skip
    monkeypatch.setattr(budget, "TTL_S", 2.0)
    pool = bot("ape")
    lease = pool.watcher.lease  # type: ignore[attr-defined]
    give_back(take(pool, 4))
    lease._ttl_s = lease._made.ttl_s = 2.0
    valkey.kill()
    eventually(lambda: pool.use().cap == 1 and pool.use().held == 1)
    with pool.connect():
        pass
    valkey.start()
    publish(made)
    give_back(take(pool, 3))


def test_leases_end_with_the_process_and_are_lent_again_only_when_the_server_has_forgotten_it(
    made: Budget, valkey: Server, server: postgres.Postgres
) -> None:
    with child(server, valkey, "ape", 1) as process:
        eventually(lambda: made.state()["extra"] == 4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    watch = sa.create_engine(driven(server.superuser_url), isolation_level="AUTOCOMMIT")

    def freed() -> bool:
        planning.audit(made, planning.open_connections(watch))
        return made.state()["extra"] == 0

    eventually(freed)
    assert made.holders() == []
    watch.dispose()


def test_through_crashes_restarts_pauses_and_a_redis_that_forgets_the_wall_holds(
    made: Budget, valkey: Server, server: postgres.Postgres
) -> None:
    """Three bots that want far more than there is, and everything that can befall them."""
    choose = random.Random(5)
    watch = sa.create_engine(driven(server.superuser_url), isolation_level="AUTOCOMMIT")
    counts: list[int] = []
    end = threading.Event()

    def look() -> None:
        sql = sa.text("SELECT count(*) FROM pg_stat_activity WHERE usename = 'bot'")
        with watch.connect() as asked:
            while not end.wait(0.005):
                counts.append(int(asked.execute(sql).scalar_one()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with contextlib.ExitStack() as stack:
            names = ["ape", "bee", "cat"]
            bots = [
                stack.enter_context(child(server, valkey, name, seed))
                for seed, name in enumerate(names)
            ]
            for step in range(12):
                time.sleep(0.3)
                place = choose.randrange(3)
                if step % 3 == 2:
                    os.kill(bots[place].pid, signal.SIGSTOP)
                    time.sleep(0.2)
                    os.kill(bots[place].pid, signal.SIGCONT)
                elif step == 7:
                    made.client.flushall()
                    made.publish(WALL, 1, {name: Part(1, 2) for name in names})
                else:
                    os.kill(bots[place].pid, signal.SIGKILL)
                    bots[place].wait()
                    bots[place] = stack.enter_context(child(server, valkey, names[place], step))
                planning.audit(made, planning.open_connections(watch))
    finally:
        end.set()
        looking.join()
        watch.dispose()
    assert max(counts) <= WALL
    assert max(counts) >= 5, "they never came near it: the test shows nothing"


@contextlib.contextmanager
def child(
    server: postgres.Postgres, valkey: Server, name: str, seed: int
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "OUTRIDER_BOT": name,
        "OUTRIDER_REDIS_URL": valkey.url,
        "OUTRIDER_POOL_FLOOR": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", BOT, server.url, str(seed)],
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == b"begun\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def driven(url: str) -> sa.URL:
    return sa.make_url(url).set(drivername="postgresql+psycopg")


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+asyncpg"])
def test_an_async_engine_grows_and_shrinks_with_its_lease_and_never_above_it(
    driver: str, made: Budget, valkey: Server, server: postgres.Postgres,
    bot: Callable[[str], ResizablePool],
) -> None:  # fmt: skip
    async def main() -> None:
        engine = engines.create_async_engine(
            sa.make_url(server.url).set(drivername=driver),
            application_name="ape", leased=engines.Leased(valkey.url, 1), pool_timeout=60,
        )  # fmt: skip
        pool: Any = engine.sync_engine.pool
        lease = pool.watcher.lease
        lease.instance, lease.base = "ape", 1
        above: list[int] = []

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(60):
                while not condition():
                    use = pool.use()
                    if use.held > max(use.cap, in_use):
                        above.append(use.held)
                    await asyncio.sleep(0.005)

        in_use = 5
        held = [await engine.connect() for _ in range(5)]  # one of its own, four that are lent
        assert (pool.use().held, made.state()["extra"]) == (5, 4)
        sixth = asyncio.ensure_future(engine.connect().start())
        done, _ = await asyncio.wait([sixth], timeout=0.1)
        assert not done
        assert pool.use().held == 5
        await held.pop().close()
        held.append(await sixth)

        for each in held:
            await each.close()
        in_use = 0
        theirs = await asyncio.to_thread(take, bot("bee"), 5)  # what ape has idle is wanted
        await until(lambda: pool.use().held == 1)
        assert made.state()["extra"] <= 4
        give_back(theirs)
        again = [await engine.connect() for _ in range(3)]
        for each in again:
            await each.close()
        assert above == []
        await engine.dispose()
        lease.close()

    asyncio.run(main())
