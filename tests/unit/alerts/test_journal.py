from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import journal, log, outbox
from outrider.alerts.state import Alert, Transition
from outrider.store import connection

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
    assert outbox.waiting(client) == journal.history(client) == log.read(client) == []


def test_what_was_kept_is_loaded(client: redis.Redis) -> None:
    assert journal.commit(client, "h", 10, [ALERT], [change()]) is True

    assert journal.load(client, "h") == (10, {ALERT.key: ALERT})
    assert journal.active(client, "h") == [ALERT]
    assert journal.active(client, "other") == []
    assert journal.history(client) == [change().plain()]
    assert outbox.waiting(client) == [change().plain()]


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

    assert told == bool(outbox.waiting(client))
    assert len(journal.history(client)) == 1


def test_history_is_newest_first_and_bounded(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEPT", 3)
    for tick in range(5):
        journal.commit(client, "h", tick, [], [change(tick)])

    assert ids(journal.history(client)) == [4, 3, 2]
    assert ids(journal.history(client, 1)) == [4]
    assert ids(outbox.waiting(client)) == [0, 1, 2, 3, 4]
