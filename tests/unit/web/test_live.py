"""One look for all viewers, and none for nobody."""

from __future__ import annotations

import asyncio
import json
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from outrider.web import live
from outrider.web.live import Live
from tests.unit.web.test_delta import applied

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.unit.web.conftest import Fleet


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.01)


FRAMES: weakref.WeakKeyDictionary[AsyncGenerator[bytes, None], Any] = weakref.WeakKeyDictionary()


async def frame_of(stream: AsyncGenerator[bytes, None]) -> dict[str, Any]:
    """Return the next frame, made of patches as a page does it."""
    async for chunk in stream:
        for line in chunk.decode().splitlines():
            if line.startswith("data: "):
                said = json.loads(line.removeprefix("data: "))
                is_patch = chunk.startswith(b"event: patch")
                frame: dict[str, Any] = applied(FRAMES[stream], said) if is_patch else said
                FRAMES[stream] = frame
                return frame
    raise AssertionError("the stream ended")


def test_a_viewer_gets_a_frame_at_once_and_the_next_one_when_there_is_news(fleet: Fleet) -> None:
    async def watch() -> list[str]:
        stream = Live(fleet.healthy().source()).watch()
        first = await frame_of(stream)
        fleet.bots({"name": "canary", "state": "failed"})
        second = await frame_of(stream)
        await stream.aclose()
        return [first["verdict"]["state"], second["verdict"]["state"]]

    assert asyncio.run(watch()) == ["ok", "critical"]


def test_viewers_share_one_look(fleet: Fleet) -> None:
    async def watch() -> int:
        shared = Live(fleet.healthy().source())
        streams = [shared.watch() for _ in range(5)]
        for stream in streams:
            await frame_of(stream)
        for stream in streams:
            await stream.aclose()
        return shared.looks

    assert asyncio.run(watch()) == 1


def test_nobody_watching_costs_nothing(fleet: Fleet) -> None:
    async def watch() -> tuple[int, int]:
        shared = Live(fleet.healthy().source())
        stream = shared.watch()
        await frame_of(stream)
        await stream.aclose()
        await asyncio.sleep(0)
        before = fleet.shelf.calls
        fleet.now_s += 3600
        await asyncio.sleep(10 * live.POLL_S)
        return before, fleet.shelf.calls

    before, after = asyncio.run(watch())
    assert before == after


def test_a_new_tick_is_news(fleet: Fleet) -> None:
    async def watch() -> float:
        stream = Live(fleet.healthy().source()).watch()
        await frame_of(stream)
        fleet.now_s += 10
        fleet.row(host__cpu__used_ratio=0.75)
        frame = await frame_of(stream)
        await stream.aclose()
        return float(frame["hosts"][0]["cpu_used_ratio"])

    assert asyncio.run(watch()) == 0.75


def test_the_stream_outlives_redis(fleet: Fleet) -> None:
    async def watch() -> list[bool]:
        stream = Live(fleet.healthy().source()).watch()
        first = await frame_of(stream)
        fleet.shelf.away = True
        second = await frame_of(stream)
        fleet.shelf.away = False
        while (third := await frame_of(stream))["problem"]:
            pass
        await stream.aclose()
        return [frame["problem"] is None for frame in (first, second, third)]

    assert asyncio.run(watch()) == [True, False, True]


def test_closing_ends_every_stream(fleet: Fleet) -> None:
    async def watch() -> list[bytes]:
        shared = Live(fleet.healthy().source())
        stream = shared.watch()
        await frame_of(stream)
        shared.close()
        return [chunk async for chunk in stream]

    assert asyncio.run(watch()) == []


def test_a_quiet_stream_shows_that_it_lives(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "KEEPALIVE_S", 0.02)

    async def watch() -> bytes:
        stream = Live(fleet.healthy().source()).watch()
        await frame_of(stream)
        chunk = await anext(stream)
        await stream.aclose()
        return chunk

    assert asyncio.run(watch()) == b": still here\n\n"


def test_only_what_changed_is_sent_and_a_slow_viewer_gets_it_whole(fleet: Fleet) -> None:
    async def watch() -> list[bytes]:
        shared = Live(fleet.healthy().source())
        quick, slow = shared.watch(), shared.watch()
        for stream in (quick, slow):
            await frame_of(stream)
        chunks = []
        for cpu in (0.5, 0.75):
            fleet.now_s += 10
            fleet.row(host__cpu__used_ratio=cpu, bot__canary__up=1.0)
            chunks.append(await anext(quick))
        chunks.append(await anext(slow))
        for stream in (quick, slow):
            await stream.aclose()
        return chunks

    first, second, whole = asyncio.run(watch())
    assert first.startswith(b"event: patch\nid: ")
    assert second.startswith(b"event: patch\nid: ")
    assert whole.startswith(b"id: ")
    assert len(second) < len(whole) / 2
