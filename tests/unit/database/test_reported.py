"""What bots say of their statements: added up by shape, told once, without values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.database import calls, reported, top
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

SERVER = "db:5432"
BY_NAME = "SELECT * FROM t WHERE name = '{}'"


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as made:
        yield made


def cost(number: int, seconds: float, rows: int = 0, errors: int = 0) -> calls.Cost:
    made = calls.Cost(rows=rows, errors=errors)
    for _ in range(number):
        made.add(seconds)
    return made


def told(client: redis.Redis, process: str, at_s: float, **texts: calls.Cost) -> None:
    report = reported.by_shape({BY_NAME.format(name): each for name, each in texts.items()})
    reported.leave(client, SERVER, process, report, at_s)


def test_statements_that_differ_in_values_are_one() -> None:
    report = reported.by_shape(
        {BY_NAME.format("ann"): cost(2, 0.1, 3), BY_NAME.format("bob"): cost(1, 0.2, 4, 1)}
    )
    ((name, only),) = report.sums.items()
    assert (only.calls, only.rows, only.errors) == (3, 7, 1)
    assert report.texts[name] == "SELECT * FROM t WHERE name = $1"


def test_a_percent_sign_that_the_driver_doubles_is_one() -> None:
    report = reported.by_shape({"SELECT a %% 5 FROM t WHERE b = %(b)s": cost(1, 0.1)})
    assert list(report.texts.values()) == ["SELECT a % $2 FROM t WHERE b = $1"]


def test_no_value_is_left_in_redis(client: redis.Redis) -> None:
    told(client, "bot|1", 100.0, s3cret=cost(1, 0.1))
    for what in ("", "texts"):
        found = client.hgetall(keys.database_statements(SERVER, what))
        assert found
        assert b"s3cret" not in repr(found).encode()


def test_processes_are_added_up_and_a_repeated_report_counts_once(client: redis.Redis) -> None:
    told(client, "bot|1", 100.0, ann=cost(99, 0.01))
    told(client, "bot|1", 101.0, ann=cost(99, 0.01))
    told(client, "bot|2", 101.0, bob=cost(99, 1.0))
    (found,) = reported.look(client, SERVER)
    assert (found.calls, found.of_bots) == (198, True)
    assert found.total_s == pytest.approx(99 * 1.01)
    assert found.p99_s == pytest.approx(1.0, rel=0.02)


def test_a_look_that_learns_leaves_only_what_comes_after_it(client: redis.Redis) -> None:
    told(client, "bot|1", 100.0, ann=cost(50, 1.0))
    reported.look(client, SERVER, learn=True, now_s=110.0)
    assert reported.look(client, SERVER) == []
    both = cost(50, 1.0)
    for _ in range(50):
        both.add(0.01)
    told(client, "bot|1", 130.0, ann=both)
    (found,) = reported.look(client, SERVER)
    assert found.calls == 50
    assert found.total_s == pytest.approx(0.5)
    assert found.p99_s == pytest.approx(0.01, rel=0.02)  # what was slow before is not of late


def test_processes_that_are_gone_are_counted_once_and_forgotten(client: redis.Redis) -> None:
    told(client, "bot|1", 100.0, ann=cost(5, 1.0))
    (found,) = reported.look(client, SERVER, learn=True, now_s=100.0 + 2 * reported.GONE_AFTER_S)
    assert found.calls == 5
    assert client.hlen(keys.database_statements(SERVER)) == 0
    assert reported.look(client, SERVER) == []


def test_nonsense_is_left_out(client: redis.Redis) -> None:
    client.hset(keys.database_statements(SERVER), "bot|9", b"nonsense")
    told(client, "bot|1", 100.0, ann=cost(5, 1.0))
    assert [each.calls for each in reported.look(client, SERVER)] == [5]


def test_bots_and_server_have_baselines_of_their_own() -> None:
    of_server = top.Cost("a", "a", 100, 1.0)
    of_bots = top.Cost("a", "a", 100, 5.0, of_bots=True)
    baseline = top.learnt({}, [of_server])
    assert top.slowed(of_bots, baseline) is None
    baseline = top.learnt(baseline, [of_bots])
    assert top.slowed(top.Cost("a", "a", 100, 15.0, of_bots=True), baseline) == pytest.approx(3)
