"""The bots of a host: what the supervisor knows, what the kernel says, what they say themselves."""

from __future__ import annotations

from typing import Any, Protocol

from outrider.metrics import frame as frames
from outrider.metrics.process import ProcessCollector
from outrider.metrics.timings import Timings


class Snapshot(Protocol):
    """Returns a supervisor's snapshot."""

    def __call__(self) -> dict[str, Any]:
        """Ask for it; raises SupervisorUnavailable when nobody listens."""
        ...


class BotsCollector:
    """Joins a supervisor's snapshot with samples of the processes."""

    def __init__(self) -> None:
        self._processes = ProcessCollector()
        self.timings = Timings()

    def collect(self, snapshot: dict[str, Any], now_s: float) -> dict[str, float]:
        """Return ``bot.*`` of every bot in the snapshot and ``stack.*`` of Outrider's own parts."""
        bots = [entry for entry in snapshot["processes"] if entry["kind"] == "bot"]
        values = self._processes.collect({bot["name"]: bot["pid"] for bot in bots}, now_s)
        for bot in bots:
            prefix = f"bot.{bot['name']}."
            values[f"{prefix}ready"] = float(bot["state"] == "ready")
            values[f"{prefix}failed"] = float(bot["state"] == "failed")
            values[f"{prefix}restarts_total"] = float(bot["restarts"])
            values[f"{prefix}crashes_total"] = float(bot["crashes"])
        for entry in snapshot["processes"]:
            if entry["kind"] == "stack":
                values[f"stack.{entry['name']}.crashes_total"] = float(entry["crashes"])
        running = {bot["name"]: bot["pid"] for bot in bots}
        for name, plain in snapshot["frames"].items():
            if running.get(name) == plain["pid"]:
                said = self._said(frames.from_plain(plain), now_s)
                values = said | values  # what was measured counts, whatever a bot calls its numbers
        if self.timings.skipped:
            values["collector.timings_skipped_total"] = float(self.timings.skipped)
        return values

    def unsupervised(self, messages: list[bytes], now_s: float) -> dict[str, float]:
        """Return the series of bots that left their frames in Redis. Nonsense is left out."""
        values: dict[str, float] = {}
        for message in messages:
            try:
                frame = frames.decode(message)
            except ValueError:
                continue
            values |= self._said(frame, now_s)
            values[f"bot.{frame.bot}.up"] = 1.0
        return values

    def sketches(self) -> dict[str, dict[int, int]]:
        """Hand over the timings' histograms of this tick; see :meth:`Timings.sketches`."""
        return self.timings.sketches()

    def _said(self, frame: frames.Frame, now_s: float) -> dict[str, float]:
        return frames.series(frame, now_s=now_s) | self.timings.take(frame, now_s)
