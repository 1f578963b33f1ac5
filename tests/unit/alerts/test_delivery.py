"""Whoever is killed, wherever: what happened is told, by each channel, at least once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from outrider.alerts import delivery, dispatch, groups, log, outbox, pausing, routes, silences
from outrider.alerts.delivery import Courier
from outrider.errors import DeliveryError
from outrider.store import connection, keys
from tests.unit.alerts.conftest import Fleet, Notebook

if TYPE_CHECKING:
    import redis

    from outrider.alerts.message import Message


class Killed(BaseException):
    """A worker's sudden end."""


class Mortal:
    """A worker that ends before its Nth step; a step is a command to Redis, or a message sent."""

    def __init__(self, url: str, fleet: Fleet, steps: int) -> None:
        self.left = steps
        self.client = connection.connect(url)
        self.fleet = fleet
        execute = self.client.execute_command

        def step(*args: Any, **options: Any) -> Any:
            self.step()
            return execute(*args, **options)  # type: ignore[no-untyped-call]

        self.client.execute_command = step  # type: ignore[method-assign]

    def step(self) -> None:
        if not self.left:
            raise Killed  # and again: the dead do nothing more
        self.left -= 1

    def deliver(self, channel: Notebook, message: Message) -> str:
        self.step()
        channel.deliver(message)
        self.step()
        return "noted"

    def run(self) -> bool:
        """Return whether it lived to the end."""
        mortal = self

        class Through:
            def __init__(self, channel: Notebook) -> None:
                self.channel = channel
                self.name, self.rate = channel.name, channel.rate
                self.most_alerts, self.is_sink = channel.most_alerts, channel.is_sink

            def deliver(self, message: Message) -> str:
                return mortal.deliver(self.channel, message)

        channels = [Through(channel) for channel in self.fleet.channels]
        fleet = self.fleet
        try:
            dispatch.run(self.client, fleet.settings, fleet.clock, channels, fleet.hosts())
        except Killed:
            for channel in channels:
                fleet.client.delete(keys.sending(channel.name))  # half a minute later
            return False
        finally:
            self.client.close()
        return True


def known(messages: list[Message]) -> set[str]:
    """Return the bots that somebody who read these messages believes to be down."""
    found: set[str] = set()
    for message in messages:
        for alert in message.alerts:
            bot = alert["instance"].split(".")[1]
            (found.add if alert["to"] == "firing" else found.discard)(bot)
    return found


def test_a_worker_may_die_between_any_two_steps_and_all_is_told(
    client: redis.Redis, valkey_url: str
) -> None:
    for steps in range(200):
        client.flushall()
        fleet = Fleet(client)
        fleet.fires("a", "b")
        first = Mortal(valkey_url, fleet, steps)
        lived = first.run()
        fleet.clock.now_s += 60
        fleet.ends("a")
        lived = Mortal(valkey_url, fleet, steps).run() and lived
        fleet.run(60)

        assert known(fleet.told) == {"b"}
        assert fleet.told, f"killed after {steps} steps"
        assert len(fleet.told) <= 4
        assert {one["message"] for one in log.read(client)} <= {one.id for one in fleet.told}
        assert log.read(client)
        assert not client.hlen(keys.OUTBOX)
        if lived:
            break
    assert lived
    assert steps > 20


class Story(RuleBasedStateMachine):
    """Alerts fire and end, channels fail, people silence, workers die."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.client = connection.connect(self.url)
        self.client.flushall()
        self.fleet = Fleet(self.client, notify={"group_interval_s": 5})
        self.down: set[str] = set()
        self.silence: str | None = None

    @rule(bot=st.sampled_from("abcd"))
    def fires(self, bot: str) -> None:
        if bot not in self.down:
            self.down.add(bot)
            self.fleet.clock.now_s += 1
            self.fleet.fires(bot)

    @rule(bot=st.sampled_from("abcd"))
    def ends(self, bot: str) -> None:
        if bot in self.down:
            self.down.discard(bot)
            self.fleet.clock.now_s += 1
            self.fleet.ends(bot)

    @rule(after_s=st.sampled_from([0.0, 3.0, 30.0]))
    def runs(self, after_s: float) -> None:
        self.fleet.run(after_s)

    @rule(after_s=st.sampled_from([0.0, 10.0]), steps=st.integers(0, 40))
    def is_killed(self, after_s: float, steps: int) -> None:
        self.fleet.clock.now_s += after_s
        Mortal(self.url, self.fleet, steps).run()

    @rule()
    def channel_fails(self) -> None:
        self.fleet.channels[0].error = DeliveryError("away", permanent=False)

    @rule()
    def channel_recovers(self) -> None:
        self.fleet.channels[0].error = None

    @precondition(lambda self: self.silence is None)
    @rule(bot=st.sampled_from("ab"))
    def silenced(self, bot: str) -> None:
        now_s = self.fleet.clock.now_s
        made = silences.add(self.client, {"bot": bot}, author="x", now_s=now_s, lasts_s=1e6)
        self.silence = made.id

    @precondition(lambda self: self.silence is not None)
    @rule()
    def unsilenced(self) -> None:
        assert self.silence
        silences.end(self.client, self.silence, self.fleet.clock.now_s)
        self.silence = None

    @rule()
    def reconciled(self) -> None:
        self.fleet.reconcile()

    def teardown(self) -> None:
        if self.silence:
            self.unsilenced()
        self.channel_recovers()
        for _ in range(3):
            groups.wake(self.client, self.fleet.clock.now_s)
            self.fleet.run(400)
        assert known(self.fleet.told) == self.down
        assert not self.client.hlen(keys.OUTBOX)
        assert not delivery.waiting(self.client, ["log"])
        self.client.close()


def test_what_was_silenced_before_its_message_was_sent_is_told_later(fleet: Fleet) -> None:
    (channel,) = fleet.channels
    fleet.set(notify={"group_interval_s": 5})
    channel.error = DeliveryError("away", permanent=False)
    fleet.fires("a")
    fleet.run()
    made = silences.add(
        fleet.client, {"bot": "a"}, author="x", now_s=fleet.clock.now_s, lasts_s=1e6
    )
    fleet.fires("b")
    fleet.run(30)
    channel.error = None
    fleet.run(400)
    assert known(fleet.told) == {"b"}
    silences.end(fleet.client, made.id, fleet.clock.now_s)
    groups.wake(fleet.client, fleet.clock.now_s)
    fleet.run(400)
    assert known(fleet.told) == {"a", "b"}


def test_whatever_happens_people_come_to_know_how_things_are(valkey_url: str) -> None:
    Story.url = valkey_url
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=checks
        ),
    )


WORKER = """
import sys
from outrider.alerts import dispatch, ways
from outrider.clock import SYSTEM
from outrider.settings import Settings
from outrider.store import connection
settings = Settings.model_validate({
    "notify": {"webhook": {"url": sys.argv[2], "allow_private": True}}
})
client = connection.connect(sys.argv[1])
dispatch.run(client, settings, SYSTEM, ways.of_settings(settings), ["alpha"])
"""


def test_a_message_whose_worker_is_killed_while_it_is_sent_is_sent_again(
    client: redis.Redis, valkey_url: str
) -> None:
    seen: list[str] = []
    arrived, killed = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers["X-Outrider-Id"])
            arrived.set()
            killed.wait(30)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    fleet = Fleet(client)
    fleet.clock.now_s = time.time()
    fleet.fires("canary")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        command = [
            sys.executable, "-c", WORKER, valkey_url, f"http://127.0.0.1:{server.server_port}/",
        ]  # fmt: skip
        first = subprocess.Popen(command)
        try:
            assert arrived.wait(60)
        finally:
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            killed.set()
        assert len(delivery.waiting(client, ["webhook"])) == 1
        assert client.ttl(keys.sending("webhook")) <= delivery.CLAIM_S
        client.delete(keys.sending("webhook"))  # half a minute later
        subprocess.run(command, check=True, timeout=60)
        server.shutdown()

    assert len(seen) == 2
    assert len(set(seen)) == 1, "a receiver can tell that it is the same"
    assert delivery.waiting(client, ["webhook"]) == []
    done = [one["done"] for one in log.read(client) if one["channel"] == "webhook"]
    assert done == [True]


def test_a_channel_is_used_by_one_worker_at_a_time(fleet: Fleet) -> None:
    first, second = (Courier(fleet.client, fleet.channels[0], fleet.clock) for _ in range(2))

    assert first.claim()
    assert not second.claim()
    assert not second.renew()
    assert first.renew()
    fleet.fires("canary")
    assert fleet.run().told == 0
    assert not fleet.told


def test_news_that_come_while_a_message_is_sent_are_not_lost(fleet: Fleet) -> None:
    (channel,) = fleet.channels

    class During(Notebook):
        def deliver(self, message: Message) -> str:
            if not self.told:
                fleet.clock.now_s += 60
                fleet.ends("canary")
                outbox.take(fleet.client, routes.of_settings(fleet.settings), fleet.clock.now())
                dispatch.look(fleet.client, fleet.settings, fleet.clock, [channel], ["alpha"])
            return super().deliver(message)

    fleet.channels = [During()]
    fleet.fires("canary")
    fleet.run()
    fleet.run()

    assert [(one.firing, one.resolved) for one in fleet.told] == [(1, 0), (0, 1)]


def test_what_failed_for_a_day_is_given_up(fleet: Fleet) -> None:
    fleet.channels[0].error = DeliveryError("away", permanent=False)
    fleet.fires("canary")
    fleet.run()
    fleet.ends("canary")
    fleet.run(delivery.GIVE_UP_AFTER_S + 1)
    fleet.run(delivery.GIVE_UP_AFTER_S + 1)

    assert log.read(fleet.client)[0]["result"] == "gave up: away"
    assert delivery.waiting(fleet.client, ["log"]) == []


def test_a_run_knows_whether_there_is_anything_to_do(fleet: Fleet) -> None:
    def is_due() -> bool:
        return dispatch.is_due(fleet.client, fleet.settings, fleet.clock.now_s)

    assert not is_due()
    fleet.fires("canary")
    assert is_due()
    fleet.run()
    assert not is_due()
    fleet.clock.now_s += fleet.settings.notify.repeat_s
    assert is_due()


def test_pauses_grow_and_end() -> None:
    rate, health, now_s = (10, 60.0), pausing.Health(), 0.0
    pauses = []
    for _ in range(10):
        health = pausing.failed(health, rate, now_s, error="x", asked_s=None)
        pauses.append(health.until_s - now_s)
        now_s = health.until_s + 60
    assert pauses == [*pausing.PAUSES_S, 300.0, 300.0]
    assert health.is_open
    asked = pausing.failed(health, rate, now_s, error="x", asked_s=1e9)
    assert asked.until_s - now_s == pausing.LONGEST_PAUSE_S
    assert not pausing.sent(health, rate, now_s).is_open


def test_a_rate_is_kept_also_when_the_clock_goes_back() -> None:
    rate, health = (2, 60.0), pausing.Health()
    for _ in range(2):
        assert pausing.free_s(health, rate, 100.0) == 100.0
        health = pausing.sent(health, rate, 100.0)
    assert pausing.free_s(health, rate, 100.0) == 130.0
    assert pausing.free_s(health, rate, 40.0) == 70.0
    assert pausing.free_s(health, rate, 1000.0) == 1000.0
