"""Reads from a real streaming replica: near, behind, lying, promoted, gone."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

import outrider
from outrider.database.replica import Routed, session_class
from outrider.errors import BadArgument
from outrider.metrics import database as reach
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOON_S = 30.0


class StoppedClock:
    """Time as the router sees it; it goes on when told."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


class Base(DeclarativeBase):
    pass


class Word(Base):
    __tablename__ = "words"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@pytest.fixture(scope="module")
def leader(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(postgres_binaries) as server:
        server.run(
            "CREATE TABLE words (id serial PRIMARY KEY, text text)",
            f"GRANT ALL ON words, words_id_seq TO {postgres.ROLE}",
            database=postgres.DATABASE,
        )
        yield server


@pytest.fixture(scope="module")
def follower(leader: postgres.Postgres) -> Iterator[postgres.Postgres]:
    """A replica that every test leaves as it was."""
    with postgres.Replica(leader) as server:
        yield server


@pytest.fixture
def spare(leader: postgres.Postgres) -> Iterator[postgres.Postgres]:
    """A replica that a test may spoil."""
    with postgres.Replica(leader) as server:
        yield server


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def routed(
    leader: postgres.Postgres, follower: postgres.Postgres, clock: StoppedClock
) -> Iterator[Routed]:
    made = of(leader, follower, clock)
    yield made
    made.dispose()


def of(leader: postgres.Postgres, follower: postgres.Postgres, clock: StoppedClock) -> Routed:
    return Routed(
        sa.create_engine(reach.parse(leader.url)),
        sa.create_engine(reach.parse(follower.url)),
        limit_s=5,
        monotonic=clock,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def looked(routed: Routed, clock: StoppedClock) -> bool:
    clock.at_s += 1.0
    return routed.state().usable


def near(routed: Routed, clock: StoppedClock) -> None:
    """Wait until the replica has all, and is used."""

    def is_near() -> bool:
        clock.at_s += 0.1
        return routed.reader() is routed.replica

    until(is_near)


def in_recovery(connection: sa.Connection) -> bool:
    return bool(connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar())


def write(routed: Routed, text: str = "owl") -> None:
    with routed.begin() as connection:
        assert not in_recovery(connection)
        connection.execute(sa.text("INSERT INTO words (text) VALUES (:text)"), {"text": text})


def count(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT count(*) FROM words")).scalar_one())


def test_reads_go_to_the_replica_and_writes_to_the_primary(
    routed: Routed, clock: StoppedClock
) -> None:
    near(routed, clock)

    with routed.read() as connection:
        assert in_recovery(connection)
    write(routed)


def test_a_bot_reads_its_own_write_from_the_primary_until_the_replica_has_it(
    routed: Routed, clock: StoppedClock, follower: postgres.Postgres
) -> None:
    near(routed, clock)
    follower.run("SELECT pg_wal_replay_pause()")
    with routed.read() as connection:
        before = count(connection)
    write(routed)

    clock.at_s += 1.0
    with routed.read() as connection:
        assert not in_recovery(connection)
        assert count(connection) == before + 1

    follower.run("SELECT pg_wal_replay_resume()")
    near(routed, clock)
    with routed.read() as connection:
        assert in_recovery(connection)
        assert count(connection) == before + 1


def test_no_read_ever_misses_a_write_of_this_process(
    leader: postgres.Postgres, follower: postgres.Postgres
) -> None:
    made = outrider.create_routed(leader.url, replica=follower.url, lag_s=30)
    with made.primary.connect() as connection:
        written = count(connection)
    for _ in range(10):
        write(made)
        written += 1
        with made.read() as connection:
            assert count(connection) == written
        until(lambda: made.reader() is made.replica)
        with made.read() as connection:
            assert in_recovery(connection)
            assert count(connection) == written
    made.dispose()


@pytest.mark.long
def test_a_replica_that_is_held_is_refused_beyond_the_limit_and_used_again(
    routed: Routed, clock: StoppedClock, follower: postgres.Postgres
) -> None:
    near(routed, clock)
    follower.run("SELECT pg_wal_replay_pause()")
    with routed.primary.begin() as connection:
        connection.execute(sa.text("INSERT INTO words (text) VALUES ('late')"))

    until(lambda: not looked(routed, clock))
    assert "stands still" in routed.state().reason
    with routed.read() as connection:
        assert not in_recovery(connection)

    follower.run("SELECT pg_wal_replay_resume()")
    near(routed, clock)


@pytest.mark.long
def test_a_replica_whose_link_broke_is_refused_though_it_reports_no_lag(
    leader: postgres.Postgres, spare: postgres.Postgres, clock: StoppedClock
) -> None:
    routed = of(leader, spare, clock)
    near(routed, clock)
    spare.run("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
    assert routed.replica is not None
    with routed.replica.connect() as connection:
        until(
            lambda: (
                connection.execute(
                    sa.text("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")
                ).scalar()
                == 0
            )
        )
    write(routed)

    until(lambda: not looked(routed, clock))
    with routed.replica.connect() as connection:
        says = "SELECT pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
        assert connection.execute(sa.text(says)).scalar() is True
    assert "nothing reaches it" in routed.state().reason
    routed.dispose()


@pytest.mark.long
def test_a_promoted_replica_is_refused(
    leader: postgres.Postgres, spare: postgres.Postgres, clock: StoppedClock
) -> None:
    routed = of(leader, spare, clock)
    near(routed, clock)
    spare.run("SELECT pg_promote()")

    assert not looked(routed, clock)
    assert routed.state().reason.startswith("it is not in recovery")
    with routed.read() as connection:
        assert not in_recovery(connection)
        assert connection.engine.url == routed.primary.url
    routed.dispose()


def test_a_replica_of_another_server_is_refused(
    postgres_binaries: postgres.Binaries, follower: postgres.Postgres, clock: StoppedClock
) -> None:
    with postgres.Postgres(postgres_binaries) as stranger:
        made = of(stranger, follower, clock)
        assert not looked(made, clock)
        assert "another server's copy" in made.state().reason
        made.dispose()


def test_a_replica_that_is_gone_costs_no_read(
    routed: Routed, clock: StoppedClock, follower: postgres.Postgres
) -> None:
    near(routed, clock)
    follower.stop()
    assert routed.replica is not None
    routed.replica.dispose()

    with routed.read() as connection:
        assert not in_recovery(connection)
    assert "refuses connections" in routed.state().reason

    follower.start()
    clock.at_s += 60
    near(routed, clock)


def test_one_caller_looks_and_the_others_go_by_the_last_look(
    routed: Routed, clock: StoppedClock
) -> None:
    near(routed, clock)
    looking, gate, looks = threading.Event(), threading.Event(), []

    def hold(*_: object) -> None:
        looks.append(1)
        looking.set()
        gate.wait(SOON_S)

    assert routed.replica is not None
    sa.event.listen(routed.replica, "before_cursor_execute", hold)
    clock.at_s += 2
    looker = threading.Thread(target=routed.reader)
    looker.start()
    assert looking.wait(SOON_S)
    assert routed.reader() is routed.replica
    clock.at_s += 60
    assert routed.reader() is routed.primary
    assert routed.state().reason == "the last look is too old"
    gate.set()
    looker.join(SOON_S)
    assert len(looks) == 1


def test_a_session_reads_from_the_replica_until_it_writes(
    routed: Routed, clock: StoppedClock
) -> None:
    near(routed, clock)
    make = sessionmaker(class_=session_class(routed))
    recovery = sa.select(sa.func.pg_is_in_recovery())

    with make() as session:
        assert session.scalar(recovery) is True
        session.add(Word(text="crow"))
        session.flush()
        assert session.scalar(recovery) is False
        assert session.scalars(sa.select(Word).where(Word.text == "crow")).first() is not None
        session.commit()
        near(routed, clock)
        assert session.scalar(recovery) is True
    with make() as session:
        locked = sa.select(Word).with_for_update()
        session.scalars(locked).first()
        assert session.scalar(recovery) is False


def test_without_a_replica_the_primary_answers(
    leader: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTRIDER_DATABASE__REPLICA_URL", raising=False)
    made = outrider.create_routed(leader.url)

    with made.read() as connection:
        assert not in_recovery(connection)
    assert made.state().reason == "no replica is named"
    made.dispose()


@pytest.mark.parametrize("wrong", [{"replica": "sqlite://"}, {"lag_s": 0}, {"replica": "nonsense"}])
def test_what_can_not_be_routed_is_refused(
    leader: postgres.Postgres, wrong: dict[str, object]
) -> None:
    options: dict[str, object] = {"replica": leader.url, **wrong}
    with pytest.raises(BadArgument):
        outrider.create_routed(leader.url, **options)  # type: ignore[arg-type]
