from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from outrider.schedules.lease import Lease
from outrider.store import connection, keys

if TYPE_CHECKING:
    import redis


@pytest.fixture
def client(valkey_url: str) -> redis.Redis:
    return connection.connect(valkey_url)


def test_one_of_two_holds_the_lease(client: redis.Redis) -> None:
    first, second = Lease(client, holder="a"), Lease(client, holder="b")

    assert [first.hold(), second.hold(), first.hold()] == [True, False, True]


def test_each_new_holder_draws_a_higher_token(client: redis.Redis) -> None:
    first, second = Lease(client, holder="a"), Lease(client, holder="b")
    first.hold()
    first.release()
    second.hold()

    assert second.token > first.token


def test_renewing_keeps_the_token(client: redis.Redis) -> None:
    lease = Lease(client, holder="a")
    lease.hold()
    before = lease.token
    lease.hold()

    assert before == lease.token


def test_a_tick_is_claimed_once(client: redis.Redis) -> None:
    lease = Lease(client, holder="a")
    lease.hold()

    assert [lease.claim("collect", 7, 70.0), lease.claim("collect", 7, 70.0)] == [True, False]


def test_a_tick_of_the_past_is_not_claimed(client: redis.Redis) -> None:
    lease = Lease(client, holder="a")
    lease.hold()
    lease.claim("collect", 7, 70.0)

    assert not lease.claim("collect", 6, 70.0)


def test_a_beat_that_lost_its_lease_can_claim_nothing(client: redis.Redis) -> None:
    stale, fresh = Lease(client, holder="a"), Lease(client, holder="b")
    stale.hold()
    client.delete(keys.LEASE)  # it expired while the first beat was stopped
    fresh.hold()

    assert not stale.claim("collect", 7, 70.0)
    assert fresh.claim("collect", 7, 70.0)


def test_ticks_that_nobody_sent_are_recorded(client: redis.Redis) -> None:
    lease = Lease(client, holder="a")
    lease.hold()
    lease.claim("collect", 7, 70.0)
    lease.claim("collect", 11, 110.0)

    assert json.loads(
        client.lindex(keys.MISSED, 0)  # type: ignore[arg-type]
    ) == {"entry": "collect", "first": 8, "last": 10, "at_s": 110}


def test_a_lease_ends_by_itself(client: redis.Redis) -> None:
    Lease(client, holder="a", ttl_s=5).hold()

    assert 0 < client.pttl(keys.LEASE) <= 5000


def test_releasing_leaves_the_lease_of_another_alone(client: redis.Redis) -> None:
    first, second = Lease(client, holder="a"), Lease(client, holder="b")
    first.hold()
    second.release()

    assert first.hold()
    assert not second.hold()


def test_a_patient_entry_waits_for_its_next_tick(client: redis.Redis) -> None:
    lease = Lease(client, holder="a")
    lease.hold()

    assert [
        lease.claim("tune", 7, 70.0, patient=True),
        lease.claim("tune", 8, 80.0, patient=True),
    ] == [False, True]
