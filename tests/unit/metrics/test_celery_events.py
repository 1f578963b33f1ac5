from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.metrics import celery_events
from outrider.metrics.celery_counts import Field, Tally
from outrider.metrics.celery_events import GENERIC, UNKNOWN, Fold
from outrider.metrics.celery_workers import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

TILL = "till@market"


def message(*events: Mapping[str, Any], many: bool | None = None) -> bytes:
    """Return events as kombu publishes them: one by itself, several as a list."""
    body: Any = list(events) if many or len(events) > 1 else events[0]
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    return json.dumps(
        {
            "body": encoded, "content-type": "application/json", "content-encoding": "utf-8",
            "headers": {"hostname": TILL},
            "properties": {"body_encoding": "base64", "delivery_tag": "x"},
        }
    ).encode()  # fmt: skip


def event(kind: str, uuid: str = "1", **fields: Any) -> dict[str, Any]:
    return {
        "type": kind, "hostname": TILL, "uuid": uuid, "pid": 7, "clock": 3, "utcoffset": 0,
        "timestamp": 1.5, **fields,
    }  # fmt: skip


def beat(processed: int, kind: str = "worker-heartbeat", **fields: Any) -> dict[str, Any]:
    given = {"freq": 2.0, "active": 1, "processed": processed, "loadavg": [0, 0, 0], **fields}
    return event(kind, **given)


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def fold(tally: Tally) -> Fold:
    return Fold(tally)


def kinds(tally: Tally) -> Counter[str]:
    found: Counter[str] = Counter()
    for field, by in tally.drain().counts.items():
        found[field.kind] += by
    return found


def test_a_task_is_followed_by_its_id(fold: Fold, tally: Tally) -> None:
    heard = fold.message(
        message(
            event("task-sent", name="pay", queue="big", hostname="gen9@web", root_id="1"),
            event("task-received", name="pay", args="()", eta=None),
            event("task-started"),
            event("task-succeeded", result="'x'", runtime=0.25),
        ),
        100.0,
    )

    assert heard == 4
    assert tally.drain().counts == {
        Field("sent", "pay", "web", "big"): 1, Field("received", "pay", TILL, "big"): 1,
        Field("started", "pay", TILL, "big"): 1, Field("succeeded", "pay", TILL, "big"): 1,
        Field("le6", "pay", TILL, "big"): 1, Field("us", "pay", TILL, "big"): 250_000,
    }  # fmt: skip


def test_a_task_sent_that_is_heard_late_tells_the_queue_of_what_follows(
    fold: Fold, tally: Tally
) -> None:
    fold.message(message(event("task-received", name="pay")), 1.0)
    fold.message(message(event("task-sent", name="pay", queue="big")), 2.0)
    fold.message(message(event("task-retried", exception="E()")), 3.0)

    assert Field("received", "pay", TILL, "celery") in (counts := tally.drain().counts)
    assert Field("retried", "pay", TILL, "big") in counts
    assert fold.sent_s("1") == 2.0


@pytest.mark.parametrize(
    ("said", "exception"),
    [
        ("ValueError('no')", "ValueError"), ("KeyError()", "KeyError"),
        ("<odd>", "UnknownException"), (None, "UnknownException"),
    ],
)  # fmt: skip
def test_failures_are_told_apart_by_exception(
    fold: Fold, tally: Tally, said: str | None, exception: str
) -> None:
    fold.message(message(event("task-failed", exception=said, traceback="...")), 1.0)

    assert tally.drain().counts == {Field("failed", UNKNOWN, TILL, "celery", exception): 1}


def test_our_own_tasks_and_workers_are_not_counted_here(fold: Fold, tally: Tally) -> None:
    fold.message(message(event("task-received", name="outrider.collect.host")), 1.0)
    fold.message(message(event("task-succeeded", runtime=1.0)), 1.0)
    fold.message(message(beat(3, hostname="outrider@alpha")), 1.0)

    assert not tally.drain()
    assert fold.workers == {}


def test_memory_is_bounded_by_the_tasks_that_are_remembered(
    fold: Fold, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_events, "MOST_TASKS", 10)
    for number in range(100):
        fold.message(message(event("task-received", str(number), name="pay")), 1.0)
    fold.message(message(event("task-started", "5"), event("task-started", "95")), 1.0)

    assert len(fold._tasks) == 10
    counts = tally.drain().counts
    assert counts[Field("received", "pay", TILL, "celery")] == 100
    assert counts[Field("started", UNKNOWN, TILL, "celery")] == 1
    assert counts[Field("started", "pay", TILL, "celery")] == 1


def test_tasks_that_are_over_are_forgotten(fold: Fold) -> None:
    for number, kind in enumerate(("succeeded", "failed", "rejected", "revoked")):
        fold.message(message(event("task-received", str(number), name="pay")), 1.0)
        fold.message(message(event(f"task-{kind}", str(number))), 1.0)

    assert fold._tasks == {}


def test_many_senders_share_a_name(
    fold: Fold, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_events, "MOST_SENDERS", 2)
    for number in range(5):
        sent = event("task-sent", str(number), name="pay", queue="q", hostname=f"g@pod{number}")
        fold.message(message(sent), 1.0)

    assert tally.drain().counts == {
        Field("sent", "pay", "pod0", "q"): 1, Field("sent", "pay", "pod1", "q"): 1,
        Field("sent", "pay", GENERIC, "q"): 3,
    }  # fmt: skip


def test_one_bad_event_does_not_cost_the_others(fold: Fold, tally: Tally) -> None:
    bad = event("task-received", name={"not": "a name"})

    assert fold.message(message(bad, event("task-received", "2", name="pay")), 1.0) == 1
    assert kinds(tally) == {"odd": 1, "received": 1}


def test_events_of_a_users_own_are_passed_over(fold: Fold, tally: Tally) -> None:
    fold.message(message(event("task-progress", done=3), event("custom-thing")), 1.0)

    assert not tally.drain()


@given(st.binary(max_size=200))
def test_nonsense_is_counted_and_never_raises(data: bytes) -> None:
    tally = Tally()

    assert Fold(tally).message(data, 1.0) == 0
    assert kinds(tally) == {"odd": 1}


ODD = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["type", "uuid", "hostname"]), inner)
    ),
)


@given(ODD)
def test_odd_bodies_never_raise(body: Any) -> None:
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    outer = {"body": encoded, "properties": {"body_encoding": "base64"}}

    Fold(Tally()).message(json.dumps(outer).encode(), 1.0)


def test_tasks_that_ran_unheard_are_counted_by_heartbeats(fold: Fold, tally: Tally) -> None:
    fold.message(message(beat(10)), 1.0)  # it ran before anybody listened: not ours to miss
    fold.message(message(event("task-started")), 2.0)
    fold.message(message(beat(14)), 3.0)
    assert kinds(tally)["unseen"] == 0  # their events may still be under way
    fold.message(message(beat(14)), 5.0)
    fold.message(message(beat(14)), 7.0)

    assert kinds(tally)["unseen"] == 3


def test_an_event_a_moment_after_its_heartbeat_is_not_missed(fold: Fold, tally: Tally) -> None:
    for number in range(20):
        fold.message(message(beat(number)), 2.0 * number)
        fold.message(message(event("task-started", str(number))), 2.0 * number + 1)

    assert kinds(tally)["unseen"] == 0


def test_a_worker_that_reconnects_says_online_again_and_keeps_its_counts(
    fold: Fold, tally: Tally
) -> None:
    fold.message(message(beat(0, "worker-online")), 1.0)
    fold.message(message(event("task-started")), 1.0)
    for _ in range(3):
        fold.message(message(beat(1, "worker-online")), 2.0)

    assert kinds(tally)["unseen"] == 0


def test_what_the_next_process_of_a_worker_did_unheard_is_counted(fold: Fold, tally: Tally) -> None:
    fold.message(message(beat(50)), 1.0)
    fold.message(message(event("task-started", pid=8)), 60.0)
    for _ in range(2):
        fold.message(message(beat(3, pid=8)), 62.0)

    assert kinds(tally)["unseen"] == 2
    assert fold.workers[TILL].pid == 8


def test_a_goodbye_is_remembered_until_it_is_back(fold: Fold) -> None:
    fold.message(message(beat(0, "worker-online")), 1.0)
    assert fold.workers[TILL].state(2.0) == "up"
    fold.message(message(beat(0, "worker-offline")), 3.0)
    assert fold.workers[TILL].state(4.0) == "offline"
    fold.message(message(beat(0, "worker-online", pid=9)), 5.0)
    assert fold.workers[TILL].state(6.0) == "up"


def test_workers_beyond_the_most_are_not_kept(fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_events, "MOST_WORKERS", 3)
    for number in range(10):
        fold.message(message(beat(0, hostname=f"w@{number}")), 1.0)

    assert len(fold.workers) == 3


def test_workers_are_forgotten_after_an_hour() -> None:
    fold = Fold(Tally(), {"old": Worker(at_s=0.0), "new": Worker(at_s=3000.0)})

    assert fold.forget(3700.0) == {"old"}
    assert set(fold.workers) == {"new"}


def test_pools_are_taken_from_workers_that_are_known() -> None:
    fold = Fold(Tally(), {"w": Worker(pid=4), "off": Worker(offline=True)})
    assert fold.strange() == {("w", 4)}
    fold.pools({"w": 8, "other": 2}, {"w": ("q", "r")})

    assert fold.strange() == set()
    changed = fold.changed()
    assert (changed["w"].processes, changed["w"].queues) == (8, ("q", "r"))
    assert set(changed) == {"w"}
    assert fold.changed() == {}
