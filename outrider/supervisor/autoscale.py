"""Holds a scaler for each bot that scales, and feeds it with what the store has.

A scaler's memory is a matter of the rows it saw, so it is not kept anywhere: a worker that starts
shows it the rows of the last days first, and then each new row once. A tick that was missed is made
up for by the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.supervisor.scaling import Scaler

if TYPE_CHECKING:
    from outrider.settings import PoolScale, Scale
    from outrider.supervisor.load import Load

# A day's rhythm needs some days: as many as raw rows are kept by default.
PAST_S = 172_800.0
# With a host's CPU this full another replica that computes takes from the others and adds nothing;
# one that mostly waits, which uses less than this of its core, still does.
FULL_RATIO, COMPUTES_RATIO = 0.95, 0.25


@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas there should be, and why; ``dry_run`` says that it is only told."""

    bot: str
    at_s: float
    replicas: int
    wanted: int
    reason: str
    rate: float
    queue: float
    service_rate: float
    dry_run: bool


class Target:
    """A bot, or the pools of an application, that follows its load."""

    def __init__(self, name: str, scale: Scale | PoolScale) -> None:
        self.name = name
        self.scale = scale
        self.seen_s = -math.inf
        self._scaler = Scaler(
            scale.min, scale.max, target_wait_s=scale.wait_s, cool_down_s=scale.cool_down_s,
            tolerance=getattr(scale, "tolerance", 0.0), start_s=getattr(scale, "start_s", 0.0),
        )  # fmt: skip
        self._service_rate = math.nan

    def decide(
        self, load: Load, *, replicas: int | None = None, host_busy: float = 0.0
    ) -> Decision | None:
        """Show the scaler what it has not seen; return its decision, None when nothing is new.

        ``replicas`` is how many there are now, where somebody knows better than the newest row;
        ``host_busy`` the used share of the host's CPU.
        """
        fresh = load.times_s > self.seen_s
        if not fresh.any():
            return None
        seen = zip(
            *(
                column[fresh].tolist()
                for column in (
                    load.times_s, load.rate, load.queue, load.replicas, load.service_rate,
                )
            ),
            strict=True,
        )  # fmt: skip
        wanted, before, row = self.scale.min, 0, (math.nan,) * 5
        for row in seen:
            at_s, rate, queue, running, service_rate = row
            # Who does nothing is as quick as before.
            if not math.isnan(service_rate):
                self._service_rate = service_rate
            before = 0 if math.isnan(running) else int(running)
            wanted = self._scaler.observe(at_s, rate, queue, before, self._service_rate)
        self.seen_s = row[0]
        reason = self._scaler.reason
        now = before if replicas is None else replicas
        computes = float(load.used_ratio[-1]) >= COMPUTES_RATIO
        if wanted > now >= self.scale.min and host_busy >= FULL_RATIO and computes:
            reason = f"stays at {now}: the host's CPU is {host_busy:.0%} busy; else {reason}"
            wanted = now
        return Decision(
            self.name, row[0], now, wanted, reason, row[1], row[2],
            self._service_rate,
            dry_run=self.scale.dry_run,
        )  # fmt: skip
