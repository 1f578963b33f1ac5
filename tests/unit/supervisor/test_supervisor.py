"""A fleet of real processes under one supervisor."""

from __future__ import annotations

import asyncio
import socket
import stat
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from outrider.errors import BadArgument
from outrider.metrics import frame as frames
from outrider.metrics.frame import Frame
from outrider.supervisor import care, supervisor
from outrider.supervisor.supervisor import Supervisor
from tests.unit.supervisor.fleets import SAYS_READY, SOON_S, WAIT, Fleet, opened, python

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.supervisor.fleets import Run

GROWS = python("import time; kept = b'x' * 60_000_000; time.sleep(600)")


def test_processes_start_when_what_they_need_is_ready(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("last", needs=("middle", "free")),
            fleet.spec("middle", needs=("first",)),
            fleet.spec("first", SAYS_READY, readiness="sdk"),
            fleet.spec("free"),
        )
        await fleet.becomes("ready", "first", "middle", "last", "free")
        events = [(name, what) for name, what, _ in fleet.events()]

        assert events.index(("first", "ready")) < events.index(("middle", "starting"))
        assert events.index(("middle", "ready")) < events.index(("last", "starting"))

    run(test)


def test_every_instance_of_what_is_needed_must_be_ready(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("market", bot="market"),
            fleet.spec("market-2", WAIT, bot="market", readiness="sdk"),
            fleet.spec("canary", needs=("market",)),
        )
        await fleet.becomes("ready", "market")
        assert fleet.state("canary") == "stopped"
        await fleet.until(lambda: fleet.state("market-2") == "starting")
        await fleet.until(lambda: fleet.reason("canary") == "waits for market-2, which is starting")

        await fleet.supervisor.processes["market-2"].stop()
        assert fleet.state("canary") == "stopped"

    run(test)


def test_what_others_need_stops_last(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("first"),
            fleet.spec("middle", needs=("first",)),
            fleet.spec("last", needs=("middle",)),
        )
        await fleet.becomes("ready", "last")
        await fleet.supervisor.stop()
        events = [(name, what) for name, what, _ in fleet.events()]

        assert events.index(("last", "stopped")) < events.index(("middle", "stopping"))
        assert events.index(("middle", "stopped")) < events.index(("first", "stopping"))

    run(test)


def test_processes_that_need_each_other_stop_all_the_same(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        for name, needed in (("a", "b"), ("b", "a")):
            fleet.supervisor.add(fleet.spec(name, needs=(needed,))).start()
        await fleet.becomes("ready", "a", "b")
        await asyncio.wait_for(fleet.supervisor.stop(), SOON_S)

        assert (fleet.state("a"), fleet.state("b")) == ("stopped", "stopped")

    run(test)


def test_a_process_that_is_stopped_while_it_waits_is_not_started(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("first", SAYS_READY, readiness="sdk"),
            fleet.spec("second", needs=("first",)),
            fleet.spec("third", needs=("first",)),
        )
        answer = await fleet.order("stop", bot="second")
        assert answer["ok"]
        await fleet.becomes("ready", "first", "third")

        assert fleet.state("second") == "stopped"

    run(test)


def test_only_what_is_named_is_stopped(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"), fleet.spec("b"), fleet.spec("c", needs=("b",)))
        await fleet.supervisor.stop(["a"])
        await fleet.becomes("ready", "b", "c")

        assert fleet.state("a") == "stopped"

    run(test)


def test_what_does_not_start_by_itself_waits_for_an_order(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", autostart=False), fleet.spec("b"))
        await fleet.becomes("ready", "b")
        assert fleet.state("a") == "stopped"

        await fleet.order("start", bot="a")
        await fleet.becomes("ready", "a")

    run(test)


def test_two_supervisors_in_one_folder_are_refused(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        second = Supervisor(run_dir=fleet.folder / "run", logs_dir=fleet.folder / "logs")
        with pytest.raises(BadArgument, match="a supervisor is at work"):
            await second.open()

        assert (await fleet.order("snapshot"))["ok"]

    run(test)


def test_sockets_of_one_that_was_killed_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("telemetry.sock", "control.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "run" / name))

    async def open_and_ask() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            assert (await fleet.order("snapshot"))["ok"]

    asyncio.run(open_and_ask())
    assert list((tmp_path / "run").iterdir()) == []


def test_the_run_folder_is_its_owners_alone(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        folder = fleet.folder / "run"

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
        assert modes == {0o600, 0o700}
        assert all(path.is_dir() for path in folder.rglob("*") if path.stat().st_mode & 0o100)

    run(test)


def sent(fleet: Fleet, *messages: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, str(fleet.supervisor.telemetry_path))


def test_what_a_bot_says_is_kept_and_nonsense_is_counted(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        said = Frame("a", fleet.pid("a"), 5.0, counters={"updates": 3.0})
        sent(
            fleet, b"", b"nonsense", b"\xff" * 1000, frames.encode(Frame("stranger", 1, 5.0)),
            frames.encode(Frame("a", 1, 5.0, counters={"updates": 99.0})), frames.encode(said),
        )  # fmt: skip
        await fleet.until(lambda: fleet.supervisor.frames)

        assert fleet.supervisor.refused_frames == 5
        assert fleet.supervisor.frames == {"a": said}
        assert fleet.supervisor.snapshot()["refused_frames"] == 5

    run(test)


def test_a_frame_that_waited_in_its_bots_ring_does_not_replace_a_newer_one(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"), fleet.spec("b"))
        await fleet.becomes("ready", "a", "b")
        pid = fleet.pid("a")
        newer, older = (Frame("a", pid, 5.0, since_s=1.0, number=n) for n in (9, 8))
        end = Frame("b", fleet.pid("b"), 5.0)
        sent(fleet, *map(frames.encode, (newer, older, end)))
        await fleet.until(lambda: "b" in fleet.supervisor.frames)
        assert (fleet.supervisor.frames["a"], fleet.supervisor.refused_frames) == (newer, 0)

        executed = Frame("a", pid, 6.0, since_s=5.5, number=1)  # another program in that process
        sent(fleet, frames.encode(executed))
        await fleet.until(lambda: fleet.supervisor.frames["a"] == executed)

    run(test)


def test_a_frame_that_is_forged_is_refused(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        told: dict[str, Any] = {"bot": "a", "pid": fleet.pid("a"), "at_s": 5.0}
        forged: list[dict[str, Any]] = [
            {"counters": {"c": float("nan")}},
            {"buckets": {"t": {10**9: 1}}},
            {"buckets": {"t": {1: 2**63}}},
            {"buckets": {"t": dict.fromkeys(range(-1000, 1049), 1)}},
        ]
        sent(fleet, *(msgspec.msgpack.encode(told | each) for each in forged))
        await fleet.until(lambda: fleet.supervisor.refused_frames == len(forged))

        assert fleet.supervisor.frames == {}

    run(test)


def test_a_flood_of_frames_is_taken_and_orders_are_heard_meanwhile(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a kernel queues ten datagrams a socket
            sender.connect(str(fleet.supervisor.telemetry_path))
            left = [frames.encode(Frame("a", fleet.pid("a"), float(n))) for n in range(100)]
            while left:
                try:
                    sender.send(left[0])
                except BlockingIOError:
                    assert (await fleet.order("snapshot"))["ok"]
                else:
                    del left[0]
        await fleet.until(lambda: fleet.supervisor.frames["a"].at_s == 99)

    run(test)


def test_a_bot_above_its_memory_limit_is_restarted_with_the_reason(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "LOOK_S", 0.05)

    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("greedy", GROWS, memory_limit_bytes=40 << 20),
            fleet.spec("modest", memory_limit_bytes=400 << 20),
        )
        await fleet.until(lambda: fleet.supervisor.processes["greedy"].restarts)
        (reason,) = {why for _, what, why in fleet.events("greedy") if what == "stopping"}

        assert reason.startswith("used ")
        assert reason.endswith("limit 40.0 MiB")
        greedy, modest = (fleet.supervisor.processes[name] for name in ("greedy", "modest"))
        assert (greedy.crashes, modest.restarts) == (0, 0)

    run(test)


def test_a_snapshot_says_everything_and_then_only_what_is_new(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"), fleet.spec("b", kind="stack"))
        await fleet.becomes("ready", "a", "b")
        first = (await fleet.order("snapshot"))["result"]
        assert [(p["name"], p["kind"], p["state"]) for p in first["processes"]] == [
            ("a", "bot", "ready"), ("b", "stack", "ready"),
        ]  # fmt: skip
        assert len(first["events"]) == 4

        newest = first["events"][-1]["id"]
        assert (await fleet.order("snapshot", since=newest))["result"]["events"] == []
        await fleet.order("stop", bot="a", who="me", why="to see")
        second = (await fleet.order("snapshot", since=newest))["result"]["events"]
        assert [(event["what"], event["detail"]) for event in second] == [
            ("asked to stop", "stop by me: to see"), ("stopping", "stop by me: to see"),
            ("stopped", "stop by me: to see"),
        ]  # fmt: skip

    run(test)


@pytest.mark.parametrize("since", ["", "another-3", "BOOT-", "BOOT-x", "BOOT--1", "-", "3"])
def test_who_knows_nothing_of_this_boot_is_told_everything(since: str, run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        boot = fleet.supervisor.snapshot()["boot"]

        assert len(fleet.supervisor.snapshot(since.replace("BOOT", boot))["events"]) == 2
        assert fleet.supervisor.snapshot(f"{boot}-999")["events"] == []

    run(test)


def test_events_are_bounded_and_the_newest_are_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(fleet: Fleet) -> None:
        for number in range(supervisor.KEPT_EVENTS + 10):
            fleet.supervisor.told("a", "counted", str(number))
        found = fleet.supervisor.snapshot()["events"]

        assert [found[0]["detail"], found[-1]["detail"]] == ["10", str(supervisor.KEPT_EVENTS + 9)]
        boot = fleet.supervisor.snapshot()["boot"]
        assert len(fleet.supervisor.snapshot(f"{boot}-5")["events"]) == supervisor.KEPT_EVENTS
        assert len({event["id"] for event in found}) == len(found)

    run(test)
