"""The self-check of a running stack: does every promise hold, measured from outside?

``outrider up --check`` kills one bot and follows the alert from the process's death to the
notification, and looks whether every tick has every bot.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from outrider.alerts import journal, log
from outrider.clock import tick_at, tick_start
from outrider.errors import BadArgument
from outrider.store import connection, keys

if TYPE_CHECKING:
    from outrider.workers.stack import Stack

LOOK_EVERY_S = 0.1


@dataclass
class Result:
    """What the check saw. Times are seconds after the kill; None: it did not happen."""

    bots: list[str] = field(default_factory=list)
    ticks: int = 0
    ticks_expected: int = 0
    missing: list[str] = field(default_factory=list)
    report_age_s: float | None = None
    verdict: str = ""
    drilled: str = ""
    noticed_s: float | None = None
    ready_again_s: float | None = None
    alerted_s: float | None = None
    notified_s: float | None = None

    def failures(self) -> list[str]:
        """Return what was missing, in words; empty when all is well."""
        found = list(self.missing)
        if not self.ticks_expected:
            found.append("no full tick lay within the run; give it longer (--for 60s)")
        if self.report_age_s is None:
            found.append("no analysis was stored")
        for what, at_s in (
            ("noticed by the supervisor", self.noticed_s),
            ("running again", self.ready_again_s),
            ("alerted", self.alerted_s),
            ("notified", self.notified_s),
        ):
            if at_s is None:
                found.append(f"drill: {self.drilled or 'no bot'} was not {what}")
        return found


class Check:
    """Watches one run of a stack: :meth:`drill` while it runs, :meth:`finish` at its end."""

    def __init__(self, stack: Stack) -> None:
        assert stack.addresses is not None
        self._stack = stack
        self._client = connection.connect(stack.addresses.redis_url)
        self._interval_s = stack.settings.interval_s
        self._host = stack.settings.host
        self.result = Result(bots=self._bots())
        # The tick that is under way may have been collected before the last bot was ready.
        self._first_tick = tick_at(time.time(), self._interval_s) + 1

    def _bots(self) -> list[str]:
        running = self._stack.supervisor.processes.values()
        return [process.spec.name for process in running if process.spec.kind == "bot"]

    async def drill(self) -> None:
        """Kill one bot as a crash would, and follow what happens until it was told.

        Raises:
            BadArgument: no bot is ready, so that there is nothing to kill.
        """
        processes = self._stack.supervisor.processes
        ready = [processes[name] for name in self.result.bots if processes[name].state == "ready"]
        # One that others need would take them along: a drill kills one bot, not the fleet.
        needed = {name for process in ready for name in process.spec.needs}
        victims = [
            p for p in ready if p.spec.bot not in needed and p.spec.readiness == "sdk"
        ] or ready
        if not victims or victims[0].pid is None:
            raise BadArgument("no bot is ready, so none can be killed; see `outrider bots list`.")
        victim = victims[0]
        self.result.drilled = victim.spec.name
        crashes, wall_s, start = victim.crashes, time.time(), time.monotonic()
        os.kill(cast("int", victim.pid), signal.SIGKILL)
        while self.result.notified_s is None or self.result.ready_again_s is None:
            await asyncio.sleep(LOOK_EVERY_S)
            passed_s = time.monotonic() - start
            if self.result.noticed_s is None and victim.crashes > crashes:
                self.result.noticed_s = passed_s
            if self.result.noticed_s is not None and self.result.ready_again_s is None:
                self.result.ready_again_s = passed_s if victim.state == "ready" else None
            if self.result.alerted_s is None:
                self.result.alerted_s = passed_s if await self._alerted(wall_s) else None
            elif self.result.notified_s is None:
                self.result.notified_s = passed_s if await self._notified(wall_s) else None

    async def finish(self) -> Result:
        """Look back over the run and return what was seen."""
        await asyncio.to_thread(self._look_back)
        return self.result

    def _look_back(self) -> None:
        now_s = time.time()
        last_tick = tick_at(now_s - 2, self._interval_s)  # the newest may be under way
        store = self._stack.store()
        window = store.window(
            self._host,
            tick_start(self._first_tick, self._interval_s),
            tick_start(last_tick + 1, self._interval_s),
        )
        expected = max(0, last_tick - self._first_tick + 1)
        self.result.ticks, self.result.ticks_expected = len(window.times_s), expected
        if len(window.times_s) < expected:
            self.result.missing.append(f"{expected - len(window.times_s)} of {expected} ticks")
        for bot in self.result.bots:
            name = f"bot.{bot}.up"
            there = int(np.isfinite(window.column(name)).sum()) if name in window.names else 0
            if there < len(window.times_s) or not there:
                self.result.missing.append(f"{bot}: metrics at {there} of {expected} ticks")
        stored = cast("bytes | None", self._client.get(keys.report(self._host)))
        if stored:
            report = json.loads(stored)
            self.result.report_age_s = now_s - report["at_s"]
            self.result.verdict = report["verdict"]

    async def _alerted(self, since_s: float) -> bool:
        return any(
            change["to"] == "firing" and self._concerns(change, since_s)
            for change in await asyncio.to_thread(journal.history, self._client)
        )

    async def _notified(self, since_s: float) -> bool:
        return any(
            entry["to"] == "firing" and self._concerns(entry, since_s)
            for entry in await asyncio.to_thread(log.read, self._client)
        )

    def _concerns(self, entry: dict[str, Any], since_s: float) -> bool:
        about = entry["instance"].startswith(f"bot.{self.result.drilled}.")
        return bool(about and entry["at_s"] >= since_s - self._interval_s)
