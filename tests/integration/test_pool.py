"""The resizable pool on a real PostgreSQL: sizes, restarts, cut sessions, forks, tasks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from outrider.database.resizable import AsyncResizablePool, ResizablePool, high_priority
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "a-pool"
COUNT = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")


@pytest.fixture(scope="module")
def server(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(postgres_binaries) as started:
        yield started


@pytest.fixture
def observer(server: postgres.Postgres) -> Iterator[sa.Engine]:
    engine = sa.create_engine(driven(server.superuser_url), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def driven(url: str) -> sa.URL:
    return sa.make_url(url).set(drivername="postgresql+psycopg")


def made(server: postgres.Postgres, size: int, **options: Any) -> sa.Engine:
    return sa.create_engine(
        driven(server.url), poolclass=ResizablePool, pool_size=size, max_overflow=0,
        connect_args={"application_name": NAME}, **options,
    )  # fmt: skip


def pool_of(engine: sa.Engine) -> ResizablePool:
    assert isinstance(engine.pool, ResizablePool)
    return engine.pool


def open_at(observer: sa.Engine) -> int:
    with observer.connect() as connection:
        return int(connection.execute(COUNT, {"name": NAME}).scalar_one())


def eventually(condition: Any) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


class Load:
    """Threads that check out all the time, and keep what went wrong."""

    def __init__(self, engine: sa.Engine, threads: int = 24) -> None:
        self.engine = engine
        self.errors: list[Exception] = []
        self.done = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with self.engine.connect() as connection:
                    connection.execute(sa.text("SELECT 1"))
                    time.sleep(0.005)
                self.done += 1
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.errors.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_it_is_resized_under_load_and_never_has_more_than_the_greater_size(
    server: postgres.Postgres, observer: sa.Engine
) -> None:
    engine = made(server, 6)
    pool_of(engine).sees_ends = True
    with Load(engine) as load:
        eventually(lambda: open_at(observer) == 6)
        before = 6
        for size in (12, 2, 8, 1, 10):
            pool_of(engine).resize(size)
            seen: list[int] = []

            def settled(size: int = size, seen: list[int] = seen) -> bool:
                seen.append(open_at(observer))
                return seen[-1] == size

            eventually(settled)
            assert max(seen) <= max(before, size)
            before = size
    assert load.errors == []
    assert pool_of(engine).checkedout() == 0
    engine.dispose()
    eventually(lambda: open_at(observer) == 0)


def test_a_restart_of_the_server_fails_no_checkout_of_an_idle_connection(
    postgres_binaries: postgres.Binaries,
) -> None:
    with postgres.Postgres(postgres_binaries) as server:
        engine = made(server, 3)
        connections = [engine.connect() for _ in range(3)]
        for connection in connections:
            connection.execute(sa.text("SELECT 1"))
            connection.close()
        server.stop()
        server.start()
        for _ in range(3):
            with engine.connect() as connection:
                assert connection.execute(sa.text("SELECT 1")).scalar() == 1
        engine.dispose()


def test_a_session_that_an_administrator_ended_is_replaced_unseen(
    server: postgres.Postgres, observer: sa.Engine
) -> None:
    engine = made(server, 2)
    with engine.connect() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    with observer.connect() as admin:
        admin.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() != pid
    engine.dispose()


def test_one_that_idled_for_long_is_asked_before_it_is_used(server: postgres.Postgres) -> None:
    asked = []
    engine = made(server, 1)
    pool = pool_of(engine)
    ping = engine.dialect._do_ping_w_event

    def counted(connection: Any) -> bool:
        asked.append(connection)
        return ping(connection)

    engine.dialect._do_ping_w_event = counted  # type: ignore[method-assign,assignment]
    engine.connect().close()
    engine.connect().close()
    assert asked == []
    pool.ping_after_s = -1.0
    engine.connect().close()
    assert len(asked) == 1
    engine.dispose()


def test_who_waits_too_long_is_told_how_many_are_in_use(server: postgres.Postgres) -> None:
    engine = made(server, 1, pool_timeout=0.05)
    with (
        engine.connect(),
        pytest.raises(sa.exc.TimeoutError, match=r"no connection within 0.05 s: all 1 of this"),
    ):
        engine.connect()
    assert pool_of(engine).use().waiting == 0
    engine.dispose()


def test_a_refused_connect_frees_its_place(server: postgres.Postgres) -> None:
    engine = sa.create_engine(
        driven(server.url).set(database="none"), poolclass=ResizablePool, pool_size=1,
        max_overflow=0,
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(sa.exc.OperationalError, match='"none" does not exist'):
            engine.connect()
    assert pool_of(engine).use().held == 0


def test_urgent_work_has_connections_of_its_own(server: postgres.Postgres) -> None:
    pool = ResizablePool(lambda: psycopg.connect(server.url), 2, reserve=1, timeout=0.05)
    usual = pool.connect()
    with pytest.raises(sa.exc.TimeoutError):
        pool.connect()
    with high_priority():
        urgent = pool.connect()
    urgent.close()
    usual.close()
    pool.dispose()


def test_a_forked_child_leaves_its_parents_connections_alone(server: postgres.Postgres) -> None:
    from outrider.database import engine as engines

    engine = engines.create_engine(server.url)
    with engine.connect() as connection:
        pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with engine.connect() as connection:
                own = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            status = 0 if own != pid else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one() == pid
    engine.dispose()


# Tasks.


def async_engine(server: postgres.Postgres, size: int, **options: Any) -> Any:
    return create_async_engine(
        driven(server.url), poolclass=AsyncResizablePool, pool_size=size, max_overflow=0,
        connect_args={"application_name": NAME}, **options,
    )  # fmt: skip


async def until(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, condition)


async def pid_of(connection: Any) -> int:
    return int((await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())


def test_tasks_wait_their_turn_and_a_resize_from_a_thread_wakes_them(
    server: postgres.Postgres,
) -> None:
    async def main() -> None:
        engine = async_engine(server, 1)
        pool = engine.sync_engine.pool
        held = await engine.connect()
        waiting = asyncio.ensure_future(engine.connect().start())
        await until(lambda: pool.use().waiting == 1)
        await asyncio.to_thread(pool.resize, 2)
        other = await asyncio.wait_for(waiting, 10)
        assert await pid_of(other) != await pid_of(held)
        await asyncio.to_thread(pool.resize, 1)
        await other.close()
        assert pool.use().held == 1
        await held.close()
        await asyncio.to_thread(pool.resize, 0)
        await until(lambda: not pool.use().held)
        await engine.dispose()

    asyncio.run(main())


def test_a_cancelled_task_loses_no_place(server: postgres.Postgres) -> None:
    async def main() -> None:
        engine = async_engine(server, 1)
        pool = engine.sync_engine.pool
        held = await engine.connect()
        waiting = [asyncio.ensure_future(engine.connect().start()) for _ in range(3)]
        await until(lambda: pool.use().waiting == 3)
        waiting[0].cancel()
        await held.close()
        waiting[1].cancel()
        last = await asyncio.wait_for(waiting[2], 10)
        await last.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in waiting[:2]:
            if not task.cancelled() and not task.exception():
                await task.result().close()
        assert (pool.use().waiting, pool.checkedout()) == (0, 0)
        await engine.dispose()

    asyncio.run(main())


def test_a_task_that_waits_too_long_is_told(server: postgres.Postgres) -> None:
    async def main() -> None:
        engine = async_engine(server, 1, pool_timeout=0.05)
        async with engine.connect():
            with pytest.raises(sa.exc.TimeoutError, match="no connection within"):
                await engine.connect()
        await engine.dispose()

    asyncio.run(main())
