from __future__ import annotations

import json
import os
import time
from typing import Any

import msgspec
import pytest

from outrider import sketch
from outrider.metrics import frame as frames
from outrider.metrics.bots import BotsCollector
from outrider.metrics.frame import Frame


def entry(name: str, **changes: Any) -> dict[str, Any]:
    known = {
        "name": name, "bot": name, "kind": "bot", "state": "ready", "pid": os.getpid(),
        "since_s": 0.0, "restarts": 2, "crashes": 1, "reason": "", "start_s": 0.1,
    }  # fmt: skip
    return known | changes


def collected(*processes: dict[str, Any], **said: Frame) -> dict[str, float]:
    snapshot = {
        "processes": list(processes),
        "frames": {name: msgspec.to_builtins(frame) for name, frame in said.items()},
    }
    return BotsCollector().collect(snapshot, 100.0)


def test_a_bot_is_described_by_supervisor_kernel_and_itself() -> None:
    frame = Frame("a", os.getpid(), 99.0, ready=True, counters={"updates": 7.0})
    values = collected(entry("a"), a=frame)

    assert {
        "bot.a.up": 1.0, "bot.a.ready": 1.0, "bot.a.failed": 0.0, "bot.a.restarts_total": 2.0,
        "bot.a.crashes_total": 1.0, "bot.a.updates_total": 7.0, "bot.a.heartbeat_age_s": 1.0,
    }.items() <= values.items()  # fmt: skip
    assert values["bot.a.rss_bytes"] > 0


def test_a_bot_that_gave_up_is_down_and_failed() -> None:
    values = collected(entry("a", state="failed", pid=None))

    assert values == {
        "bot.a.up": 0.0, "bot.a.ready": 0.0, "bot.a.failed": 1.0, "bot.a.restarts_total": 2.0,
        "bot.a.crashes_total": 1.0,
    }  # fmt: skip


def test_the_word_of_an_earlier_process_does_not_count() -> None:
    values = collected(entry("a"), a=Frame("a", 1, 99.0, counters={"updates": 7.0}))

    assert "bot.a.updates_total" not in values
    assert "bot.a.heartbeat_age_s" not in values


def test_a_bot_cannot_talk_over_what_was_measured() -> None:
    own = {
        "up": 0.0,
        "failed": 5.0,
        "restarts": 99.0,
        "crashes": 99.0,
        "ready": 0.0,
        "rss_bytes": 1.0,
    }
    values = collected(
        entry("a", state="starting"),
        a=Frame("a", os.getpid(), 99.0, ready=True, counters=own, gauges=own),
    )

    assert (values["bot.a.up"], values["bot.a.ready"], values["bot.a.failed"]) == (1.0, 0.0, 0.0)
    assert (values["bot.a.restarts_total"], values["bot.a.crashes_total"]) == (2.0, 1.0)
    assert values["bot.a.rss_bytes"] > 1.0


def test_parts_of_the_stack_are_counted_apart() -> None:
    values = collected(entry("worker", kind="stack", crashes=3))

    assert values == {"stack.worker.crashes_total": 3.0}


def test_unsupervised_bots_speak_for_themselves() -> None:
    messages = [
        frames.encode(Frame("a", 1, 99.0, gauges={"queue": 2.0, "up": 0.0})),
        b"nonsense",
        frames.encode(Frame("b.c", 1, 99.0)),
        frames.encode(Frame("b", 2, 98.0, ready=True)),
    ]

    assert BotsCollector().unsupervised(messages, 100.0) == {
        "bot.a.up": 1.0, "bot.a.ready": 0.0, "bot.a.heartbeat_age_s": 1.0, "bot.a.queue": 2.0,
        "bot.b.up": 1.0, "bot.b.ready": 1.0, "bot.b.heartbeat_age_s": 2.0,
    }  # fmt: skip


def frame_of(*durations: float, **changes: Any) -> Frame:
    fields: dict[str, Any] = {
        "timings": {"handle": (len(durations), sum(durations), max(durations))},
        "buckets": {"handle": sketch.of(durations)},
    }
    return Frame("a", os.getpid(), 99.0, **(fields | changes))


def in_json(frame: Frame) -> dict[str, Any]:
    """Return a snapshot as it comes over the control socket, where keys are texts."""
    said = json.loads(json.dumps(msgspec.to_builtins(frame)))
    return {"processes": [entry("a")], "frames": {"a": said}}


def test_timings_have_quantiles_of_the_tick_and_histograms_for_the_store() -> None:
    collector = BotsCollector()
    first = collector.collect(in_json(frame_of(9.0)), 100.0)
    assert first["collector.timings_skipped_total"] == 1
    assert collector.sketches() == {}

    values = collector.collect(in_json(frame_of(9.0, 0.5, 0.5, 0.5)), 110.0)
    assert values["bot.a.handle.p50_s"] == pytest.approx(0.5, rel=0.01)
    assert values["bot.a.handle.max_s"] == pytest.approx(0.5, rel=0.01)
    assert values["bot.a.handle.count"] == 4
    assert values["collector.timings_skipped_total"] == 1
    assert collector.sketches() == {"bot.a.handle": {sketch.index(0.5): 3}}


def test_unsupervised_bots_have_quantiles_too() -> None:
    collector = BotsCollector()
    collector.unsupervised([frames.encode(frame_of(9.0))], 100.0)
    values = collector.unsupervised([frames.encode(frame_of(9.0, 0.5))], 110.0)

    assert values["bot.a.handle.p99_s"] == pytest.approx(0.5, rel=0.01)
    assert collector.sketches() == {"bot.a.handle": {sketch.index(0.5): 1}}


def test_cpu_is_a_share_of_the_time_between_two_snapshots() -> None:
    collector, now_s = BotsCollector(), time.time()
    snapshot = {"processes": [entry("a")], "frames": {}}

    assert "bot.a.cpu_ratio" not in collector.collect(snapshot, now_s)
    assert 0 <= collector.collect(snapshot, now_s + 1000)["bot.a.cpu_ratio"] < 0.1
