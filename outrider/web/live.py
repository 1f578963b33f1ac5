"""One look at the fleet, shared by everyone who watches; none at all while nobody does.

The first viewer starts a task, the last one stops it. The task asks once a second for the cheap
stamp and looks only when that changed. The first frame of a viewer is whole; after it come patches
(``delta``), events of the kind ``patch``. A viewer holds no queue: whoever is slow and missed a
frame gets the newest one next, whole again.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread
import msgspec

from outrider.web import delta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable

    from outrider.web.source import Source

T = TypeVar("T")

POLL_S = 1.0
# Proxies drop a silent stream after 30 to 60 s, and only writing shows that a viewer is gone.
KEEPALIVE_S = 15.0
MOST_VIEWERS = 200
# Few: each call is short, and a thread that waits for a dead server must not multiply.
_THREADS = 4


class Live:
    """The stream of frames. Belongs to one event loop."""

    def __init__(self, looked: Source, *, links: dict[str, str] | None = None) -> None:
        self._source = looked
        self._links = links or {}
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._fleet: dict[str, Any] | None = None
        self._frame: bytes | None = None  # made when somebody needs it whole
        self._patch: bytes | None = None
        self._number = 0
        self._closed = False
        self.looks = 0
        self._status: tuple[float, bytes] | None = None
        self._looking = asyncio.Lock()
        self._ready: tuple[float, tuple[bool, dict[str, Any]]] | None = None
        self._asking = asyncio.Lock()
        self._threads = anyio.CapacityLimiter(_THREADS)

    @property
    def full(self) -> bool:
        """Whether no more viewers are taken."""
        return self._viewers >= MOST_VIEWERS

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work without holding the loop up."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def status(self, *, max_age_s: float = POLL_S) -> bytes:
        """Return the fleet as JSON, at most ``max_age_s`` old; callers at once share one look."""
        async with self._looking:
            if self._status is None or time.monotonic() - self._status[0] >= max_age_s:
                self._status = time.monotonic(), msgspec.json.encode(await self._look())
            return self._status[1]

    async def _look(self) -> dict[str, Any]:
        self.looks += 1
        return await self.in_thread(self._source.look) | {"links": self._links}

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Return readiness, at most a second old: anyone may ask, and must not cost more."""
        async with self._asking:
            if self._ready is None or time.monotonic() - self._ready[0] >= POLL_S:
                self._ready = time.monotonic(), await self.in_thread(self._source.ready)
            return self._ready[1]

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events: the newest frame at once, then each new one."""
        self._viewers += 1
        if self._task is None:
            self._fleet = self._frame = self._patch = None
            self._task = asyncio.create_task(self._follow())
        seen = -1
        try:
            yield b"retry: 2000\n\n"
            while not self._closed:
                news = self._news
                if self._fleet is not None and seen != self._number:
                    missed = seen != self._number - 1
                    seen = self._number
                    yield self._whole() if missed or self._patch is None else self._patch
                    continue
                try:
                    await asyncio.wait_for(news.wait(), KEEPALIVE_S)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self._viewers -= 1
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None

    def close(self) -> None:
        """End every stream, so that the server can stop at once."""
        self._closed = True
        self._tell()

    async def _follow(self) -> None:
        last: Hashable = object()
        while True:
            stamp: Any = await self.in_thread(self._stamp)
            if stamp is None or stamp != last:
                last = stamp
                async with self._looking:
                    fleet = await self._look()
                patch = None if self._fleet is None else delta.between(self._fleet, fleet)
                self._fleet, self._frame, self._patch = fleet, None, None
                self._number += 1
                if patch is not None:
                    body = msgspec.json.encode(patch)
                    self._patch = b"event: patch\nid: %d\ndata: %b\n\n" % (self._number, body)
                self._tell()
            await asyncio.sleep(POLL_S)

    def _whole(self) -> bytes:
        if self._frame is None:
            body = msgspec.json.encode(self._fleet)
            self._frame = b"id: %d\ndata: %b\n\n" % (self._number, body)
        return self._frame

    def _stamp(self) -> Hashable:
        try:
            return self._source.stamp()
        except Exception:  # noqa: BLE001 - look() meets the same trouble and says what it is
            return None

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
