"""Orders by task, and what collection keeps of a supervisor's word. Supervisors are real."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import message, outbox
from outrider.settings import Settings
from outrider.store import keys
from outrider.supervisor import audit
from outrider.tasks import alert, collect, context, supervise
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from outrider.tasks.context import Context

    Test = Callable[[Fleet], Coroutine[Any, Any, None]]


@pytest.fixture
def ctx(tmp_path: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)  # the application asks for it
    built = context.build(Settings(host="testhost", data_dir=tmp_path), valkey_url)
    monkeypatch.setattr(context, "current", lambda: built)
    return built


def run(test: Test, folder: Path) -> None:
    async def whole() -> None:
        async with opened(Fleet(folder)) as fleet:
            fleet.start(fleet.spec("a"))
            await fleet.becomes("ready", "a")
            await test(fleet)

    asyncio.run(whole())


async def task(name: str, **arguments: Any) -> Any:
    from outrider.workers.app import app  # it asks for a Redis as soon as it is looked at

    called = app.tasks[f"outrider.supervise.{name}"]
    result = await asyncio.to_thread(called.apply, kwargs=arguments, task_id="some-task")
    return result.get()


def test_an_order_by_task_is_carried_out_and_recorded_with_its_caller(
    ctx: Context, tmp_path: Path
) -> None:
    async def test(fleet: Fleet) -> None:
        before = fleet.pid("a")
        done = await task("restart", bot="a", who="ann", why="new token")
        assert [bot["name"] for bot in done["bots"]] == ["a"]
        await fleet.becomes("ready", "a")
        assert fleet.pid("a") != before
        await task("limit", bot="a", memory="300MiB")
        assert (await task("diagnose", bot="a"))["bots"][0]["state"] == "ready"

        first, second = audit.read(tmp_path / "logs", most=9)
        assert (first["what"], first["why"], first["result"]) == ("restart", "new token", "done")
        assert first["who"].startswith("ann (task some-task from ")
        assert second["who"].startswith("task (task some-task from ")

        await asyncio.to_thread(collect._snapshot, ctx)
        kept = [json.loads(entry) for entry in ctx.redis.lrange(keys.ACTIONS, 0, -1)]
        (asked,) = [entry for entry in kept if entry["what"] == "asked to restart"]
        assert asked["who"] == first["who"]
        assert {e["who"] for e in kept if e["what"] == "ready"} == {"supervisor@testhost"}

    run(test, tmp_path)


def test_a_refused_order_is_on_the_list_of_actions_with_the_reason(
    ctx: Context, tmp_path: Path
) -> None:
    async def test(fleet: Fleet) -> None:
        await fleet.order("limit", bot="a", memory="1KiB", who="ann")
        await asyncio.to_thread(collect._snapshot, ctx)
        kept = [json.loads(entry) for entry in ctx.redis.lrange(keys.ACTIONS, 0, -1)]

        (refused,) = [entry for entry in kept if entry["what"] == "limit refused"]
        assert (refused["who"], refused["bot"]) == ("ann", "a")
        assert refused["result"].startswith("refused: memory = '1KiB'")

    run(test, tmp_path)


def test_the_report_of_a_crash_goes_with_the_alert(ctx: Context, tmp_path: Path) -> None:
    change = {
        "id": "1", "instance": "bot.a.crashes_total", "host": "testhost", "severity": "warning",
        "from": "inactive", "to": "firing", "at_s": time.time(), "summary": "a crashed",
    }  # fmt: skip

    def told(**other: Any) -> dict[str, Any]:
        outbox.put(ctx.redis, {**change, **other})
        alert._add_crashes(ctx)
        (found,) = outbox.waiting(ctx.redis)
        return found

    async def test(fleet: Fleet) -> None:
        assert "crash" not in told()
        os.kill(fleet.pid("a"), 9)
        await fleet.until(lambda: "crash report" in [what for _, what, _ in fleet.events("a")])
        await asyncio.to_thread(collect._snapshot, ctx)

        found = told()
        assert (found["crash"]["code"], found["crash"]["name"]) == (-9, "a")
        assert "a crashed (killed by SIGKILL after " in found["summary"]
        assert "crash" in message.line(found)
        for other in (
            {"instance": "bot.b.up"}, {"instance": "db.server"}, {"to": "resolved"},
            {"at_s": time.time() + alert.CRASH_FRESH_S + 5},
        ):  # fmt: skip
            assert "crash" not in told(**other)

    run(test, tmp_path)


def test_a_caller_without_a_task_is_as_it_says() -> None:
    assert supervise._caller("ann") == "ann"
