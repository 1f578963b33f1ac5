from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from outrider.metrics import celery_counts
from outrider.metrics.celery_counts import GONE, OVERFLOW, Field, Ledger, Tally
from outrider.schedules.lease import Lease
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = Field("succeeded", "t", "w", "q")


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


def tallied(times: int = 1, field: Field = DONE) -> Tally:
    tally = Tally()
    tally.add(*field, by=times)
    return tally


def counts(client: redis.Redis) -> dict[Field, int]:
    return celery_counts.read(client, "shop")


def test_what_several_processes_count_adds_up(client: redis.Redis) -> None:
    for _ in range(3):
        assert Ledger(client, "shop").flush(tallied(2), 1.0, 1)

    assert counts(client) == {DONE: 6}


def test_nothing_to_flush_sends_nothing() -> None:
    away = connection.connect("redis://127.0.0.1:1/0")

    assert Ledger(away, "shop").flush(Tally(), 1.0, 1)


def test_what_could_not_be_flushed_is_flushed_later(client: redis.Redis, valkey_url: str) -> None:
    ledger, tally = Ledger(connection.connect("redis://127.0.0.1:1/0"), "shop"), tallied(2)
    with pytest.raises(redis.ConnectionError):
        ledger.flush(tally, 1.0, 1)
    assert ledger.waits
    tally.add(*DONE)
    ledger._flush.registered_client = client  # Redis is back

    ledger.flush(tally, 2.0, 1)
    assert counts(client) == {DONE: 3}
    assert not ledger.waits


def test_a_batch_whose_answer_got_lost_counts_once(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, tally = Ledger(client, "shop"), tallied(2)
    send = ledger._flush

    def answer_lost(**given: Any) -> None:
        send(**given)
        raise redis.TimeoutError

    monkeypatch.setattr(ledger, "_flush", answer_lost)
    with pytest.raises(redis.TimeoutError):
        ledger.flush(tally, 1.0, 1)
    monkeypatch.undo()
    ledger.flush(tally, 2.0, 1)
    ledger.flush(tallied(5), 3.0, 1)

    assert counts(client) == {DONE: 7}


def test_who_lost_the_lease_writes_nothing(client: redis.Redis) -> None:
    def lease(holder: str) -> Lease:
        return Lease(
            client, holder=holder, key=keys.celery("shop", "lease"),
            token_key=keys.celery("shop", "token"),
        )  # fmt: skip

    first, second = lease("a"), lease("b")
    first.hold()
    stale, fresh = Ledger(client, "shop", holder="a"), Ledger(client, "shop", holder="b")
    assert stale.flush(tallied(1), 1.0, 1)
    first.release()
    second.hold()

    assert not stale.flush(tallied(10), 2.0, 1, workers={"w": "{}"}, receiver="{}")
    assert fresh.flush(tallied(100), 2.0, 1)
    assert counts(client) == {DONE: 101}
    assert not client.exists(keys.celery("shop", "workers"), keys.celery("shop", "receiver"))


def test_names_beyond_the_cap_are_counted_as_overflow(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_counts, "MOST_FIELDS", 3)
    tally = Tally()
    for number in range(10):
        tally.add("failed", f"t{number}", "w", "q", "E")
        tally.runtime("t0", "w", "q", 0.1 * (number + 1))
    Ledger(client, "shop").flush(tally, 1.0, 1)

    found = counts(client)
    kinds = {field.kind for field in found}
    assert sum(by for field, by in found.items() if field.kind == "failed") == 10
    assert sum(by for field, by in found.items() if field.kind.startswith("le")) == 10
    assert len(found) <= 3 + len(kinds)
    assert found[Field("failed", OVERFLOW, OVERFLOW, OVERFLOW)] == 9
    held = client.hgetall(keys.celery_runtimes("shop", 1))
    sketches = celery_counts.parse_runtimes(held)  # type: ignore[arg-type]
    assert sum(sum(buckets.values()) for buckets in sketches.values()) == 10


def test_a_tally_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_counts, "MOST_TALLIED", 5)
    tally = Tally()
    for number in range(100):
        tally.add("received", f"{number:03}" + "x" * 1000, "w", "q")
    batch = tally.drain()

    assert len(batch.counts) == 6
    assert batch.counts[Field("received", OVERFLOW, OVERFLOW, OVERFLOW)] == 95
    assert max(len(field.task) for field in batch.counts) == celery_counts.LONGEST_NAME


def test_names_with_our_separator_stay_one_field(client: redis.Redis) -> None:
    Ledger(client, "shop").flush(tallied(1, Field("failed", "a\x1fb", "w", "q", "E")), 1.0, 1)

    assert counts(client) == {Field("failed", "a?b", "w", "q", "E"): 1}


def test_runtimes_fall_into_the_buckets_of_celery_exporter() -> None:
    tally = Tally()
    for seconds in (0.0, 0.005, 0.006, 10.0, 11.0):
        tally.runtime("t", "w", "q", seconds)
    found = {field.kind: by for field, by in tally.drain().counts.items()}

    assert found == {"le0": 2, "le1": 1, "le13": 1, "le14": 1, "us": 21_011_000}


def test_counting_from_threads_loses_nothing() -> None:
    tally = Tally()

    def count() -> None:
        for _ in range(2000):
            tally.add(*DONE)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert tally.drain().counts == {DONE: 8000}


def test_what_a_forgotten_worker_did_stays_in_the_totals(client: redis.Redis) -> None:
    ledger = Ledger(client, "shop")
    for worker in ("old", "older", "new"):
        ledger.flush(tallied(2, DONE._replace(worker=worker)), 1.0, 1, workers={worker: "{}"})

    celery_counts.forget(client, "shop", {"old", "older"})
    assert counts(client) == {DONE._replace(worker=GONE): 4, DONE._replace(worker="new"): 2}
    assert client.hkeys(keys.celery("shop", "workers")) == [b"new"]
