from __future__ import annotations

from outrider.metrics import celery_workers
from outrider.metrics.celery_workers import Worker


def test_a_worker_is_up_while_its_heartbeat_is_young_and_silent_then() -> None:
    worker = Worker(at_s=100.0)

    assert [worker.state(now_s) for now_s in (100, 115, 115.1)] == ["up", "up", "silent"]


def test_a_worker_that_beats_slowly_is_given_five_beats() -> None:
    worker = Worker(at_s=100.0, every_s=30.0)

    assert [worker.state(now_s) for now_s in (249, 251)] == ["up", "silent"]


def test_a_worker_survives_being_kept() -> None:
    worker = Worker(pid=4, at_s=1.5, queues=("a",), processes=2, base=3, heard=1)

    kept = {b"w": celery_workers.encode(worker).encode(), b"broken": b"{"}
    assert celery_workers.parse(kept) == {"w": worker}


def test_a_count_that_fell_begins_anew() -> None:
    worker = Worker(base=0)
    worker.missed(10)
    worker.missed(10)

    assert worker.missed(2) == 0
    assert worker.missed(2) == 0
