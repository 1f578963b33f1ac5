from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery

from outrider.schedules import scheduler as module
from outrider.schedules.lease import Lease
from outrider.schedules.scheduler import LOOK_EVERY_S, LeasedScheduler
from outrider.store import connection

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s


class Beat:
    """A scheduler under a test's clock, and what it sent."""

    def __init__(self, url: str, clock: Clock, holder: str) -> None:
        self.sent: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
        app = Celery("beat", broker=url, set_as_current=False)
        app.send_task = self._keep  # type: ignore[method-assign, assignment]
        lease = Lease(connection.connect(url), holder=holder)
        self.scheduler = LeasedScheduler(app=app, clock=clock, lease=lease)

    def _keep(self, name: str, *, kwargs: dict[str, Any], **options: Any) -> None:
        self.sent.append((name, kwargs, options))

    def collected(self) -> list[int]:
        return [kwargs["tick"] for name, kwargs, _ in self.sent if name == "outrider.collect.fleet"]


@pytest.fixture(autouse=True)
def _no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_tick_is_sent_once_by_two_beats(valkey_url: str) -> None:
    clock = Clock(1000.0)
    first, second = Beat(valkey_url, clock, "a"), Beat(valkey_url, clock, "b")
    for _ in range(300):
        first.scheduler.tick()
        second.scheduler.tick()
        clock.at_s += 0.5

    assert list(range(100, 115)) == first.collected()
    assert second.collected() == []


def test_the_second_beat_goes_on_where_the_first_ended(valkey_url: str) -> None:
    clock = Clock(1000.0)
    first, second = Beat(valkey_url, clock, "a"), Beat(valkey_url, clock, "b")
    first.scheduler.tick()
    connection.connect(valkey_url).delete("or:beat:lease")  # as if its time had passed
    clock.at_s = 1012.0
    second.scheduler.tick()
    first.scheduler.tick()

    assert (first.collected(), second.collected()) == ([100], [101])


def test_a_message_expires_with_its_interval_and_carries_tick_and_token(valkey_url: str) -> None:
    beat = Beat(valkey_url, Clock(1000.0), "a")
    beat.scheduler.tick()

    _, kwargs, options = next(sent for sent in beat.sent if sent[0] == "outrider.collect.fleet")

    assert kwargs == {"tick": 100}
    assert options["expires"] == 10
    assert options["headers"] == {"outrider_tick": 100, "outrider_token": 1}


def test_the_next_look_is_due_when_the_next_tick_begins(valkey_url: str) -> None:
    beat = Beat(valkey_url, Clock(1009.75), "a")

    assert beat.scheduler.tick() == pytest.approx(0.25)


def test_a_redis_that_is_away_is_waited_for(valkey_url: str) -> None:
    beat = Beat(valkey_url, Clock(1000.0), "a")

    def away() -> bool:
        raise redis.ConnectionError("gone")

    there = beat.scheduler._lease.hold  # type: ignore[union-attr]
    beat.scheduler._lease.hold = away  # type: ignore[union-attr, method-assign]
    waited_s = beat.scheduler.tick()
    beat.scheduler._lease.hold = there  # type: ignore[union-attr, method-assign]
    beat.scheduler.tick()

    assert waited_s == LOOK_EVERY_S
    assert beat.collected() == [100]


def test_the_lease_is_handed_over_at_the_end(valkey_url: str) -> None:
    clock = Clock(1000.0)
    first, second = Beat(valkey_url, clock, "a"), Beat(valkey_url, clock, "b")
    first.scheduler.tick()
    first.scheduler.close()
    clock.at_s = 1010.0
    second.scheduler.tick()

    assert second.collected() == [101]


def test_the_applications_own_schedule_is_sent_too(valkey_url: str) -> None:
    app = Celery("own", broker=valkey_url, set_as_current=False)
    app.conf.beat_schedule = {"mine": {"task": "my.task", "schedule": 60.0}}
    lease = Lease(connection.connect(valkey_url), holder="a")
    scheduler = module.LeasedScheduler(app=app, clock=Clock(1000.0), lease=lease)

    assert "mine" in scheduler.schedule
