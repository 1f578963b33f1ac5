from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from outrider.metrics import celery_queues
from outrider.metrics.celery_queues import Bindings, Broker, Layout, client_url, waited_s
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

ODD = Layout(prefix="sh*p:", separator=":", steps=(0, 5, 9), unacked="held")


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


def application(url: str, layout: Layout = Layout()) -> Celery:  # noqa: B008 - frozen
    app = Celery(broker=url, set_as_current=False)
    app.conf.task_queues = [Queue("a"), Queue("b", Exchange("other"), routing_key="bee")]
    app.conf.broker_transport_options = {
        "global_keyprefix": layout.prefix, "sep": layout.separator,
        "priority_steps": list(layout.steps), "unacked_key": layout.unacked,
    }  # fmt: skip
    return app


@pytest.mark.parametrize("layout", [Layout(), ODD], ids=["usual", "odd"])
def test_queues_are_found_and_read_as_the_application_lays_them_out(
    client: redis.Redis, valkey_url: str, layout: Layout
) -> None:
    with application(valkey_url, layout) as app:
        for priority in range(10):
            app.send_task("t", queue="a", priority=priority)
        app.send_task("t", exchange="other", routing_key="bee", queue="b")
        with app.connection() as broker:
            assert broker.SimpleQueue("a").get(timeout=5)
            look = Broker(client, client, "shop", layout).look(["a", "b"], 1.0)

    assert Bindings(client, layout).queues() == ["a", "b"]
    assert (look.queues["a"].length, look.queues["b"].length) == (9, 1)
    assert (look.queues["a"].unacked, look.unacked) == (1, 1)


def test_channels_of_commands_and_events_are_no_queues(
    client: redis.Redis, valkey_url: str
) -> None:
    for exchange, queue in (
        ("celery.pidbox", "w@h.celery.pidbox"), ("celeryev", "celeryev.123"),
        ("reply.celery.pidbox", "1.reply.celery.pidbox"), ("celery", "celery"),
    ):  # fmt: skip
        client.sadd(f"_kombu.binding.{exchange}", f"k\x06\x16\x06\x16{queue}")

    assert Bindings(client, Layout()).queues() == ["celery"]


def test_a_large_database_is_searched_in_parts(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client.pipeline() as pipe:
        for number in range(20_000):
            pipe.set(f"celery-task-meta-{number}", "")
        pipe.execute()
    client.sadd("_kombu.binding.q", "q\x06\x16\x06\x16q")
    monkeypatch.setattr(celery_queues, "_KEYS_A_LOOK", 2000)
    bindings = Bindings(client, Layout())

    found = [bindings.queues() for _ in range(12)]
    assert found[-1] == ["q"]
    client.delete("_kombu.binding.q")
    assert bindings.queues() == []


def test_more_unacknowledged_messages_than_are_read_leave_only_the_total(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_queues, "MOST_UNACKED", 100)
    entries: dict[Any, Any] = {
        str(number): f'[{{"body": "{"x" * 100}"}}, "", "a"]' for number in range(1000)
    }
    client.hset("unacked", mapping=entries)

    look = Broker(client, client, "shop", Layout()).look(["a"], 1.0)
    assert (look.unacked, look.queues["a"].unacked) == (1000, None)


def test_messages_of_an_unknown_kind_are_counted(client: redis.Redis) -> None:
    client.lpush("a", b"\xff\x00", "no json")
    client.hset("unacked", "1", "nonsense")

    look = Broker(client, client, "shop", Layout()).look(["a"], 1.0)
    assert (look.queues["a"].length, look.queues["a"].unacked, look.unacked) == (2, 0, 1)


def test_a_task_whose_sending_was_heard_has_an_exact_age(
    client: redis.Redis, valkey_url: str
) -> None:
    with application(valkey_url) as app:
        sent = app.send_task("t", queue="a")
    broker = Broker(client, client, "shop", Layout())

    look = broker.look(["a"], 100.0, sent_s={sent.id: 40.0}.get)
    assert look.queues["a"].oldest_age_s == 60


DUE_AT_50 = '"eta": "1970-01-01T00:00:50+00:00"'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"headers": {"eta": null}}', 10),
        ('{"headers": {"outrider_sent_s": 30.5}}', 69.5),
        ('{"properties": {"correlation_id": "known"}}', 80),
        ('{"properties": {"correlation_id": "unknown"}}', 10),
        (f'{{"headers": {{{DUE_AT_50}, "outrider_sent_s": 1}}}}', 50),
        (f'{{"headers": {{{DUE_AT_50}}}}}', 10),
        ('{"headers": {"eta": "1970-01-01T00:03:00", "outrider_sent_s": 1}}', 0),
        ('{"headers": {"eta": "soon", "outrider_sent_s": 90}}', 10),
        ('{"headers": {"argsrepr": "\\"outrider_sent_s\\": 1"}}', 10),
        ("", 10),
    ],
)
def test_how_long_a_message_waits(message: str, expected: float) -> None:
    known = {"known": 20.0}

    assert waited_s(message.encode(), 10.0, 100.0, known.get) == expected


@pytest.mark.parametrize(
    ("broker", "expected"),
    [
        ("redis://:p%40ss@db:6379/3", "redis://:p%40ss@db:6379/3"),
        ("redis://db", "redis://db/0"),
        ("redis://db//2", "redis://db/2"),
        ("redis+socket:///run/r.sock?virtual_host=/4", "unix:///run/r.sock?db=4"),
        ("redis+socket://:p@/run/r.sock", "unix://:p@/run/r.sock"),
        ("rediss://db?ssl_cert_reqs=CERT_REQUIRED", "rediss://db/0?ssl_cert_reqs=required"),
    ],
)
def test_a_brokers_address_as_our_client_takes_it(broker: str, expected: str) -> None:
    assert client_url(broker) == expected
    assert connection.connect(client_url(broker))
