from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import journal
from outrider.alerts.state import Alert, Transition
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

ALERT = Alert("bot is down", "bot.canary.up", "h", "critical", "firing", 100.0, 0.0, 100.0)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


def change(tick: int = 10, *, before: Any = "pending", to: Any = "firing") -> Transition:
    return Transition(
        f"h|bot is down|bot.canary.up|{tick}|{to}", "bot is down", "bot.canary.up", "h", "critical",
        before, to, tick * 10.0, tick, 0.0, "it burns",
    )  # fmt: skip


def ids(changes: list[dict[str, Any]]) -> list[int]:
    return [entry["tick"] for entry in changes]


def contents(client: redis.Redis) -> dict[bytes, Any]:
    return {key: client.dump(key) for key in client.scan_iter("*")}


def test_nothing_is_known_before_the_first_tick(client: redis.Redis) -> None:
    assert journal.load(client, "h") == (-1, {})
    assert journal.outbox(client) == journal.history(client) == journal.notifications(client) == []


def test_what_was_kept_is_loaded(client: redis.Redis) -> None:
    assert journal.commit(client, "h", 10, [ALERT], [change()]) is True

    assert journal.load(client, "h") == (10, {ALERT.key: ALERT})
    assert journal.active(client, "h") == [ALERT]
    assert journal.active(client, "other") == []
    assert journal.history(client) == [change().plain()]
    assert journal.outbox(client) == [change().plain()]


@pytest.mark.parametrize("tick", [10, 9, 0])
def test_a_tick_that_is_not_newer_changes_nothing(tick: int, client: redis.Redis) -> None:
    journal.commit(client, "h", 10, [ALERT], [change()])
    before = contents(client)

    assert journal.commit(client, "h", tick, [], [change(tick, before="firing")]) is False
    assert before == contents(client)


def test_a_tick_that_another_worker_keeps_first_changes_nothing(
    client: redis.Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = journal._stored

    def meanwhile(asking: redis.Redis, host: str) -> Any:
        found = stored(asking, host)
        monkeypatch.setattr(journal, "_stored", stored)
        with connection.connect(valkey_url) as other:
            assert journal.commit(other, host, 10, [ALERT], [change()])
        return found

    monkeypatch.setattr(journal, "_stored", meanwhile)

    assert journal.commit(client, "h", 10, [], [change(to="pending")]) is False
    assert journal.history(client) == [change().plain()]


def test_hosts_do_not_see_each_other(client: redis.Redis) -> None:
    journal.commit(client, "h", 10, [ALERT], [])

    assert journal.commit(client, "other", 5, [], []) is True
    assert journal.load(client, "h") == (10, {ALERT.key: ALERT})


@pytest.mark.parametrize(
    ("before", "to", "told"),
    [
        ("inactive", "pending", False),
        ("pending", "inactive", False),
        ("pending", "firing", True),
        ("inactive", "firing", True),
        ("firing", "inactive", True),
    ],
)
def test_people_are_told_of_what_fires_and_of_its_end(
    before: str, to: str, client: redis.Redis, *, told: bool
) -> None:
    journal.commit(client, "h", 10, [], [change(before=before, to=to)])

    assert told == bool(journal.outbox(client))
    assert len(journal.history(client)) == 1


def test_history_is_newest_first_and_bounded(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEPT", 3)
    for tick in range(5):
        journal.commit(client, "h", tick, [], [change(tick)])

    assert ids(journal.history(client)) == [4, 3, 2]
    assert ids(journal.history(client, 1)) == [4]
    assert ids(journal.outbox(client)) == [0, 1, 2, 3, 4]


def test_a_delivery_is_claimed_by_one_worker(client: redis.Redis) -> None:
    assert journal.claim(client, "1", "log") is True
    assert journal.claim(client, "1", "log") is False
    assert journal.claim(client, "1", "webhook") is True
    assert 0 < client.ttl(f"{keys.told('1')}:log") <= 30


def tell(client: redis.Redis, channel: str = "log", *, done: bool = True) -> None:
    result = "written" if done else "failed: 500"
    journal.told(client, change().plain(), channel, result=result, done=done, at_s=101.0)


def test_what_was_delivered_is_not_delivered_again(client: redis.Redis) -> None:
    journal.claim(client, change().id, "log")
    tell(client)

    assert journal.claim(client, change().id, "log") is False
    (entry,) = journal.notifications(client)
    assert (entry["channel"], entry["result"], entry["at_s"]) == ("log", "written", 101.0)
    assert (entry["id"], entry["rule"], entry["to"]) == (change().id, "bot is down", "firing")


def test_what_failed_may_be_claimed_at_once_again(client: redis.Redis) -> None:
    journal.claim(client, change().id, "log")
    tell(client, done=False)

    assert journal.claim(client, change().id, "log") is True
    assert journal.notifications(client)[0]["result"] == "failed: 500"


def test_a_change_leaves_the_outbox_when_every_channel_was_told(client: redis.Redis) -> None:
    journal.commit(client, "h", 10, [ALERT], [change()])
    tell(client)

    assert journal.settle(client, change().id, {"log", "webhook"}) is False
    assert len(journal.outbox(client)) == 1
    tell(client, "webhook")
    assert journal.settle(client, change().id, {"log", "webhook"}) is True
    assert journal.outbox(client) == []


class Killed(BaseException):
    """A worker's sudden end."""


class Worker:
    """Does what the notify task does, and is killed before its Nth step."""

    def __init__(self, client: redis.Redis, *, steps: int) -> None:
        self.client = client
        self.left = steps
        self.delivered: list[str] = []

    def step(self) -> None:
        if not self.left:
            raise Killed
        self.left -= 1

    def notify(self) -> None:
        for pending in journal.outbox(self.client):
            self.step()
            if journal.claim(self.client, pending["id"], "log"):
                self.step()
                self.delivered.append(pending["id"])
                self.step()
                journal.told(self.client, pending, "log", result="written", done=True, at_s=0.0)
            self.step()
            journal.settle(self.client, pending["id"], {"log"})


@pytest.mark.parametrize("steps", range(8))
def test_a_worker_may_die_between_any_two_steps_and_all_is_told_at_least_once(
    steps: int, client: redis.Redis
) -> None:
    both = [change(10), change(11, before="firing", to="inactive")]
    journal.commit(client, "h", 11, [], both)
    first, second = Worker(client, steps=steps), Worker(client, steps=100)
    try:
        first.notify()
    except Killed:
        client.delete(*client.keys(f"{keys.told('*')}:log"), "claims expire after half a minute")
    second.notify()

    assert {c.id for c in both} == set(first.delivered) | set(second.delivered)
    assert len(first.delivered) + len(second.delivered) <= 3
    assert journal.outbox(client) == []


def test_a_reminder_goes_out_once_and_is_noted(client: redis.Redis) -> None:
    journal.commit(client, "h", 10, [ALERT], [])

    assert journal.remind(client, "h", ALERT, 500.0) is True
    assert journal.remind(client, "h", ALERT, 501.0) is False
    (reminder,) = journal.outbox(client)
    assert (reminder["from"], reminder["to"], reminder["at_s"]) == ("firing", "firing", 500.0)
    assert journal.history(client) == []
    assert journal.active(client, "h")[0].reminded_s == 500.0


def test_an_alert_that_ended_is_not_reminded_of(client: redis.Redis) -> None:
    journal.commit(client, "h", 10, [], [])

    assert journal.remind(client, "h", ALERT, 500.0) is False
    assert journal.active(client, "h") == []
    assert journal.outbox(client) == []


def test_a_reminder_is_not_forgotten_by_an_evaluation_that_began_before_it(
    client: redis.Redis,
) -> None:
    journal.commit(client, "h", 10, [ALERT], [])
    _, loaded = journal.load(client, "h")
    journal.remind(client, "h", ALERT, 500.0)
    journal.commit(client, "h", 11, loaded.values(), [])

    assert journal.active(client, "h")[0].reminded_s == 500.0
