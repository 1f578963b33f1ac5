"""Asks Telegram now and then how many updates wait: a bot that is late does not see its queue."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outrider.sdk.integrations.meter import Meter

EVERY_S = 60.0
PATIENCE_S = 10.0


class Pending:
    """Keeps one asking task for each bot account while its framework runs."""

    def __init__(self, meter: Meter) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._known: dict[int, float] = {}
        meter.part(Updates).waiting.append(self._waiting)

    def watch(self, account: int, ask: Callable[[], Awaitable[float]]) -> None:
        """Ask once a minute from now on, in the running loop. ``ask`` may fail: then none knows."""
        if account not in self._tasks:
            self._tasks[account] = asyncio.create_task(
                self._asking(account, ask), name="outrider-pending"
            )

    async def stop(self) -> None:
        """Ask no more, so that nothing uses a session which is about to close."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._known.clear()

    async def _asking(self, account: int, ask: Callable[[], Awaitable[Any]]) -> None:
        while True:
            self._known.pop(account, None)
            with contextlib.suppress(Exception):  # counted as an API call that failed
                async with asyncio.timeout(PATIENCE_S):
                    self._known[account] = float(await ask())
            await asyncio.sleep(EVERY_S)

    def _waiting(self) -> float | None:
        return sum(self._known.values()) if self._known else None
