"""Drills: what a bot's transactions lose when the database, or the way to it, breaks."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Self

import pytest
import sqlalchemy as sa

import outrider
from outrider.database import greeting, resizable
from outrider.database.resizable import ResizablePool
from tests.servers import postgres
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_USE = 4
SELECT = sa.text("SELECT 1")
PID = sa.text("SELECT pg_backend_pid()")


@pytest.fixture(scope="module")
def server(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(postgres_binaries, max_connections=30) as started:
        yield started


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRESET", "POOL_SIZE", "POOL_FLOOR", "BOT", "REDIS_URL"):
        monkeypatch.delenv(f"OUTRIDER_{name}", raising=False)


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


class Busy:
    """As many callers as there are connections, each in one transaction after the other."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.done = [0] * IN_USE
        self.failed: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(IN_USE)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait until every caller has finished some more transactions."""
        before = list(self.done)
        eventually(lambda: all(now > was + 3 for now, was in zip(self.done, before, strict=True)))

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                with self.engine.begin() as connection:
                    connection.execute(SELECT)
                    time.sleep(0.002)
                    connection.execute(SELECT)
                self.done[number] += 1
            except Exception as error:  # noqa: BLE001 - counted
                self.failed.append(error)


def made(server: postgres.Postgres, **options: Any) -> sa.Engine:
    options = {"pool_size": IN_USE, "pool_timeout": 60} | options
    return outrider.create_engine(server.url, **options)


def restart(server: postgres.Postgres) -> None:
    server.stop()
    server.start()


def crash(server: postgres.Postgres) -> None:
    server.kill()
    server.start()


def no_fault(_server: postgres.Postgres) -> None:
    """For comparison."""


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.01)


def cut_sessions(server: postgres.Postgres) -> None:
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bot'")


@pytest.mark.parametrize("drill", [restart, crash, cut_sessions])
def test_it_costs_at_most_one_failed_transaction_for_each_connection_in_use(
    server: postgres.Postgres, drill: Callable[[postgres.Postgres], None]
) -> None:
    engine = made(server)
    with Busy(engine) as busy:
        drill(server)
        busy.goes_on()
    engine.dispose()

    assert len(busy.failed) <= IN_USE, busy.failed
    assert all(isinstance(error, sa.exc.DBAPIError) for error in busy.failed)


def test_it_costs_tasks_no_more(server: postgres.Postgres) -> None:
    async def main(url: sa.URL) -> tuple[int, list[Exception]]:
        engine = outrider.create_async_engine(url, pool_size=IN_USE, pool_timeout=60)
        failed: list[Exception] = []
        done = 0
        stop = False

        async def work() -> None:
            nonlocal done
            while not stop:
                try:
                    async with engine.begin() as connection:
                        await connection.execute(SELECT)
                        await asyncio.sleep(0.002)
                        await connection.execute(SELECT)
                    done += 1
                except Exception as error:  # noqa: BLE001 - counted
                    failed.append(error)

        tasks = [asyncio.ensure_future(work()) for _ in range(IN_USE)]
        for drill in (no_fault, cut_sessions):
            await asyncio.to_thread(drill, server)
            before = done
            await until(lambda before=before: done > before + 20)  # type: ignore[misc]
        stop = True
        await asyncio.gather(*tasks)
        await engine.dispose()
        return done, failed

    for driver in ("psycopg", "asyncpg"):
        url = sa.make_url(server.url).set(drivername=f"postgresql+{driver}")
        done, failed = asyncio.run(main(url))
        assert done > 20
        assert len(failed) <= IN_USE, (driver, failed)


def through(proxy: Proxy, driver: str = "psycopg") -> str:
    return f"postgresql+{driver}://bot@127.0.0.1:{proxy.port}/fleet"


def test_a_black_hole_hangs_nobody_and_is_forgotten_when_it_closes(
    server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resizable, "PING_WITHIN_S", 0.3)
    with Proxy(server.socket) as proxy:
        engine = outrider.create_engine(
            through(proxy), pool_size=1, connect_args={"connect_timeout": 2}
        )
        assert isinstance(engine.pool, ResizablePool)
        with engine.connect() as connection:
            connection.execute(SELECT)
        engine.pool.ping_after_s = -1.0
        proxy.swallows = True
        with pytest.raises(sa.exc.OperationalError, match="timeout"):
            engine.connect()
        proxy.swallows = False
        with engine.connect() as connection:
            assert connection.execute(SELECT).scalar_one() == 1
        engine.dispose()


def test_asyncpg_gives_up_a_statement_that_a_black_hole_swallowed(
    server: postgres.Postgres,
) -> None:
    async def main(proxy: Proxy) -> None:
        engine = outrider.create_async_engine(
            through(proxy, "asyncpg"), pool_size=1, connect_args={"command_timeout": 0.5}
        )
        async with engine.connect() as connection:
            await connection.execute(SELECT)
            await connection.rollback()
            proxy.swallows = True
            with pytest.raises((TimeoutError, sa.exc.DBAPIError)):
                await connection.execute(SELECT)
            proxy.swallows = False
            await connection.invalidate()
        async with engine.connect() as connection:
            assert (await connection.execute(SELECT)).scalar_one() == 1
        await engine.dispose()

    with Proxy(server.socket) as proxy:
        asyncio.run(main(proxy))


def test_five_hundred_who_connect_at_once_all_get_their_turn(server: postgres.Postgres) -> None:
    engine = made(server)
    gate = threading.Barrier(500)
    failed: list[Exception] = []
    most: list[int] = []

    def call() -> None:
        gate.wait()
        try:
            with engine.begin() as connection:
                connection.execute(SELECT)
                most.append(engine.pool.checkedout())  # type: ignore[attr-defined]
        except Exception as error:  # noqa: BLE001 - counted
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()

    assert failed == []
    assert len(most) == 500
    assert max(most) <= IN_USE


def test_five_hundred_tasks_at_once_too(server: postgres.Postgres) -> None:
    async def main() -> int:
        engine = outrider.create_async_engine(server.url, pool_size=IN_USE, pool_timeout=60)

        async def call() -> int:
            async with engine.begin() as connection:
                return int((await connection.execute(SELECT)).scalar_one())

        answers = await asyncio.gather(*(call() for _ in range(500)))
        assert isinstance(engine.sync_engine.pool, ResizablePool)
        assert engine.sync_engine.pool.use().held <= IN_USE
        await engine.dispose()
        return sum(answers)

    assert asyncio.run(main()) == 500


@pytest.mark.parametrize("preset", ["staging", "production", "high_performance"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_superuser_is_refused_with_the_reason(
    server: postgres.Postgres, preset: str, driver: str
) -> None:
    async def main() -> None:
        url = sa.make_url(server.superuser_url).set(drivername=f"postgresql+{driver}")
        engine = outrider.create_async_engine(url, preset=preset)
        with pytest.raises(greeting.UnfitServer, match="CREATE ROLE bot"):
            await engine.connect()
        await engine.dispose()

    asyncio.run(main())


def test_a_server_that_is_too_old_is_refused(server: postgres.Postgres) -> None:
    version = postgres.ready(server.url).encode()
    told = b"9.6.24".ljust(len(version))[: len(version)]

    with Proxy(server.socket, lambda said: said.replace(version, told)) as proxy:
        engine = outrider.create_engine(through(proxy))
        with pytest.raises(greeting.UnfitServer, match="13 or newer is needed"):
            engine.connect()
        engine.dispose()


def test_a_pooler_is_seen_by_the_process_id_it_makes_up(server: postgres.Postgres) -> None:
    def renumbered(said: bytes) -> bytes:
        at = said.find(b"K\0\0\0\x0c")
        return said if at < 0 else said[: at + 5] + b"\0\1\2\3" + said[at + 9 :]

    with Proxy(server.socket, renumbered) as proxy:
        engine = outrider.create_engine(through(proxy), pool_size=2)
        direct = made(server)
        for each, expected in ((engine, None), (direct, 5)):
            with each.connect() as one, each.connect() as two:
                for connection in (one, two):
                    driver: Any = connection.connection.driver_connection
                    assert driver.prepare_threshold == expected
        engine.dispose()
        direct.dispose()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"username": "bot", "database": "none"}, "mend the database's name"),
        ({"username": "nobody-here"}, "CREATE ROLE"),
    ],
)
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_refused_connect_has_a_note_with_the_next_step(
    server: postgres.Postgres, change: dict[str, str], words: str, driver: str
) -> None:
    async def main() -> None:
        url = sa.make_url(server.url).set(drivername=f"postgresql+{driver}")
        url = url.set(username=change.get("username"), database=change.get("database", "fleet"))
        engine = outrider.create_async_engine(url)
        with pytest.raises(Exception, match="does not exist") as caught:
            await engine.connect()
        assert words in " ".join(caught.value.__notes__)
        await engine.dispose()

    asyncio.run(main())


def test_a_server_that_was_never_there_is_told_at_once(tmp_path: Any) -> None:
    engine = outrider.create_engine(f"postgresql://bot@/fleet?host={tmp_path}", pool_timeout=3600)
    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()
    assert "start the server" in " ".join(caught.value.__notes__)


# Connections that nobody closes.


def test_a_forgotten_engine_closes_what_is_idle(server: postgres.Postgres) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            engine = made(server)
            with engine.connect() as one, engine.connect() as two:
                pids = [c.execute(PID).scalar_one() for c in (one, two)]
            del engine, one, two
            gc.collect()
            await_end(server, pids)


def test_what_comes_back_to_a_disposed_pool_is_closed(server: postgres.Postgres) -> None:
    engine = made(server)
    held = engine.connect()
    pid = held.execute(PID).scalar_one()
    engine.dispose()
    assert alive(server, [pid]) == 1
    pool = engine.pool
    assert isinstance(pool, ResizablePool)
    assert pool.use().held == 1  # what is open still counts, so both together stay in bounds
    held.close()
    eventually(lambda: not alive(server, [pid]))
    assert pool.use().held == 0
    with engine.connect() as connection:
        assert connection.execute(SELECT).scalar_one() == 1
    engine.dispose()


def await_end(server: postgres.Postgres, pids: list[int]) -> None:
    eventually(lambda: not alive(server, pids))


def alive(server: postgres.Postgres, pids: list[int]) -> int:
    import psycopg

    with psycopg.connect(server.superuser_url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", (pids,)
        ).fetchone()
    assert row is not None
    return int(row[0])
