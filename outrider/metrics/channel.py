"""The channel of a host: what its hub carried, how large its batches are, who waits for whom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTERS = ("published", "delivered", "dropped", "requests", "unsent_messages")
_COUNTERS_OF_WORK = ("arrived", "answered", "failed", "late", "lost", "busy")


class ChannelCollector:
    """Makes ``channel.*`` of what a hub says; batches and delay are of the time since the last."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def collect(self, said: Mapping[str, Any] | None) -> dict[str, float]:
        """Return the series; none when no supervisor answers. NaN of a tick without a batch."""
        if said is None:
            return {}
        totals = said["totals"]
        values = {f"channel.{name}_total": float(totals.get(name, 0)) for name in _COUNTERS}
        values |= {
            "channel.peers": float(len(said["peers"])),
            "channel.queued_bytes": float(said["queued_bytes"]),
            "channel.received_bytes_total": float(totals.get("received_bytes", 0)),
            "channel.sent_bytes_total": float(totals.get("sent_bytes", 0)),
            "channel.refused_total": float(sum(said["refused"].values())),
            "channel.faults_total": float(said["faults"]),
            "channel.failures_total": float(said["failures"]),
            "channel.batch_in_messages": self._ratio(totals, "published", "received_frames"),
            "channel.batch_out_messages": self._ratio(totals, "sent_messages", "sent_frames"),
            "channel.delay_s": round(self._ratio(totals, "waited_s", "sent_frames"), 6),
        }
        self._before = dict(totals)
        for bot, work in said["work"].items():
            prefix = f"channel.work.{bot}."
            values[f"{prefix}waiting"] = float(work["waiting"])
            values[f"{prefix}running"] = float(work["running"])
            values |= {f"{prefix}{name}_total": float(work[name]) for name in _COUNTERS_OF_WORK}
            values[f"{prefix}busy_seconds_total"] = round(work["busy_s"], 6)
            values[f"{prefix}waited_seconds_total"] = round(work["waited_s"], 6)
        return values

    def _ratio(self, totals: Mapping[str, float], what: str, each: str) -> float:
        """Return how much of something there was for each of another, since the last look."""
        begun = totals.get(each, 0) < self._before.get(each, 0)  # another hub, which counts anew
        before: Mapping[str, float] = {} if begun else self._before
        many = totals.get(each, 0) - before.get(each, 0)
        return (totals.get(what, 0) - before.get(what, 0)) / many if many else math.nan
