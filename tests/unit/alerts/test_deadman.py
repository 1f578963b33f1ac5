from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import deadman, dispatch
from outrider.settings import Settings
from outrider.store import keys
from tests.unit.alerts.channels.conftest import Receiver, running
from tests.unit.alerts.conftest import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as receiver:
        yield receiver


def pinging(receiver: Receiver, **given: Any) -> Settings:
    heartbeat = {"url": receiver.url, "allow_private": True, "every_s": "60s"} | given
    return Settings.model_validate({"notify": {"heartbeat": heartbeat}})


def test_a_ping_goes_out_once_an_interval(client: redis.Redis, receiver: Receiver) -> None:
    settings = pinging(receiver)

    assert dispatch.is_due(client, settings, 0.0)
    dispatch.run(client, settings, Clock(), [], [])
    assert not dispatch.is_due(client, settings, 0.0)
    assert deadman.ping(client, settings) is False
    assert len(receiver.seen) == 1
    assert 40_000 < client.pttl(keys.PING) <= 48_000, "early rather than late"


def test_a_ping_that_fails_is_tried_again(
    client: redis.Redis, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "outrider.alerts")
    receiver.status = 503
    assert deadman.ping(client, pinging(receiver)) is False
    assert "heartbeat: 127.0.0.1 answered 503" in caplog.text
    receiver.status = 200
    assert deadman.ping(client, pinging(receiver)) is True


def test_a_ping_does_not_reach_inside(client: redis.Redis, receiver: Receiver) -> None:
    assert deadman.ping(client, pinging(receiver, allow_private=False)) is False
    assert receiver.seen == []


def test_without_an_address_nothing_is_pinged(client: redis.Redis) -> None:
    assert not dispatch.is_due(client, Settings(), 0.0)
    assert deadman.ping(client, Settings()) is False
