from __future__ import annotations

import math
from typing import Any

from outrider.metrics.channel import ChannelCollector


def said(**totals: float) -> dict[str, Any]:
    work = {
        "waiting": 2, "running": 1, "arrived": 9, "answered": 5, "failed": 1, "late": 0,
        "lost": 0, "busy": 0, "waited_s": 0.5, "busy_s": 3.25,
    }  # fmt: skip
    return {
        "totals": {"published": 0, "received_frames": 0, **totals},
        "queued_bytes": 7,
        "failures": 0,
        "faults": 1,
        "refused": {"another user": 2, "not a process of this supervisor": 1},
        "work": {"market": work},
        "peers": [{}, {}],
    }


def test_a_host_without_a_supervisor_has_no_channel() -> None:
    assert ChannelCollector().collect(None) == {}


def test_totals_and_work_become_series() -> None:
    values = ChannelCollector().collect(said(published=10, dropped=3))

    assert values["channel.published_total"] == 10
    assert values["channel.dropped_total"] == 3
    assert values["channel.peers"] == 2
    assert values["channel.refused_total"] == 3
    assert values["channel.work.market.waiting"] == 2
    assert values["channel.work.market.busy_seconds_total"] == 3.25


def test_batches_are_of_the_tick() -> None:
    collector = ChannelCollector()
    collector.collect(said(published=100, received_frames=100))
    values = collector.collect(said(published=400, received_frames=110))
    quiet = collector.collect(said(published=400, received_frames=110))

    assert values["channel.batch_in_messages"] == 30
    assert math.isnan(quiet["channel.batch_in_messages"])


def test_a_new_hub_begins_anew() -> None:
    collector = ChannelCollector()
    collector.collect(said(published=1000, received_frames=100))
    values = collector.collect(said(published=20, received_frames=10))

    assert values["channel.batch_in_messages"] == 2
