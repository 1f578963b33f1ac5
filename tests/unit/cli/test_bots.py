"""The commands against a real supervisor, which runs beside them in this process."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cli import bots
from outrider.supervisor import keeper, process
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from click.testing import Result

    from tests.unit.cli.conftest import Outrider

    Command = Callable[..., Coroutine[Any, Any, Result]]
    Run = Callable[[Callable[[Fleet, Command], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(folder: Path, outrider: Outrider, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test's coroutine with a fleet of two bots, and a way to give commands."""
    monkeypatch.setattr(process, "ALIVE_AFTER_S", 0.05)
    (folder / "outrider.toml").write_text('data_dir = "."')

    async def command(*arguments: str) -> Result:
        return await asyncio.to_thread(outrider, *arguments)

    def run(test: Callable[[Fleet, Command], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with opened(Fleet(folder)) as fleet:
                fleet.start(fleet.spec("a"), fleet.spec("b"), fleet.spec("worker", kind="stack"))
                await fleet.becomes("ready", "a", "b", "worker")
                await test(fleet, command)

        asyncio.run(whole())

    return run


def test_bots_are_listed_and_parts_of_the_stack_are_not(run: Run) -> None:
    async def test(fleet: Fleet, command: Command) -> None:
        said = await command("bots", "list")
        assert said.exit_code == 0
        assert [line.split()[:3] for line in said.stdout.splitlines()[1:]] == [
            ["a", "ready", str(fleet.pid("a"))], ["b", "ready", str(fleet.pid("b"))],
        ]  # fmt: skip

        found = json.loads((await command("bots", "list", "--json")).stdout)
        assert [bot["pid"] for bot in found] == [fleet.pid("a"), fleet.pid("b")]

    run(test)


def test_a_bot_is_stopped_started_and_restarted_and_it_is_recorded_by_whom(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "me")

    async def test(fleet: Fleet, command: Command) -> None:
        said = await command("bots", "stop", "a", "--why", "to see")
        assert said.exit_code == 0
        assert "stop by me: to see" in said.stdout
        assert (fleet.state("a"), fleet.state("b")) == ("stopped", "ready")
        assert (await command("bots", "start", "a")).exit_code == 0
        await fleet.becomes("ready", "a")
        before = fleet.pid("a")
        assert (await command("bots", "restart", "all")).exit_code == 0
        await fleet.becomes("ready", "a", "b")
        assert fleet.pid("a") != before

    run(test)


def test_a_bot_that_nobody_declared_is_refused_with_those_there_are(run: Run) -> None:
    async def test(fleet: Fleet, command: Command) -> None:
        said = await command("bots", "stop", "nobody")

        assert said.exit_code == 2
        assert "no bot 'nobody'; this fleet has: a, b." in said.stderr

    run(test)


def test_a_keyboard_without_a_name_is_somebodys(monkeypatch: pytest.MonkeyPatch) -> None:
    from outrider.cli import here

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)

    assert here.person() == "somebody"


@pytest.fixture
def logged(folder: Path) -> Path:
    (folder / "outrider.toml").write_text('data_dir = "."')
    (folder / "logs").mkdir()
    log = folder / "logs" / "a.log"
    log.write_text("one\ntwo\n\x1b[31mred\x1b[0m \x1b[2Jsteers\n")
    return log


def test_the_last_lines_of_a_log_are_printed_and_cannot_steer_the_terminal(
    logged: Path, outrider: Outrider
) -> None:
    assert (
        outrider("bots", "logs", "a", "-n", "2").stdout
        == "two\nred \N{REPLACEMENT CHARACTER}[2Jsteers\n"
    )
    assert outrider("bots", "logs", "a", "-n", "0").stdout == ""


@pytest.mark.parametrize("name", ["nobody", "../secret", "/etc/passwd", "", "a\x00b"])
def test_a_log_that_is_none_is_refused_with_those_there_are(
    name: str, logged: Path, outrider: Outrider
) -> None:
    (logged.parent.parent / "secret.log").write_text("hunter2")
    said = outrider("bots", "logs", name)

    assert said.exit_code == 2
    assert "there are: a." in said.stderr
    assert "hunter2" not in said.output


def test_logs_are_followed_by_name_also_when_one_is_turned_to_a_new_file(
    logged: Path, outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bots, "FOLLOW_EVERY_S", 0.01)
    other = logged.with_name("b.log")
    other.write_text("old\n")
    seen: list[str] = []

    class Enough(BaseException):
        pass

    def echo(text: str) -> None:
        seen.append(text)
        if "last" in text:
            raise Enough

    def write() -> None:
        with logged.open("a") as file:
            file.write("more\n")
        _until(lambda: f"{'a':<14} more" in seen)
        other.rename(other.with_name("b.log.1"))
        other.write_text("turned\n")
        _until(lambda: f"{'b':<14} turned" in seen)
        with logged.open("a") as file:
            file.write("last\n")

    monkeypatch.setattr("click.echo", echo)
    timer = threading.Timer(0.1, write)
    timer.start()
    with pytest.raises(Enough):
        bots.logs.callback(("a", "b"), 0, None, follow=True)  # type: ignore[misc]
    timer.join()

    assert seen == [f"{'a':<14} more", f"{'b':<14} turned", f"{'a':<14} last"]


def test_lines_since_a_while_are_printed(logged: Path, outrider: Outrider) -> None:
    table = [(time.time() - 3600, 0), (time.time() - 60, 4)]
    logged.with_name("a.log.times").write_bytes(b"".join(keeper.TIMES.pack(*at) for at in table))

    assert outrider("bots", "logs", "a", "--since", "10m", "-n", "1").stdout.startswith("red ")
    assert outrider("bots", "logs", "a", "--since", "10m").stdout.startswith("two\n")
    assert outrider("bots", "logs", "a", "--since", "2h").stdout.startswith("one\n")
    refused = outrider("bots", "logs", "a", "--since", "yesterday")
    assert refused.exit_code == 2
    assert "--since" in refused.stderr


def test_every_order_is_shown_with_who_why_and_what_came_of_it(run: Run) -> None:
    async def test(fleet: Fleet, command: Command) -> None:
        await command("bots", "stop", "a", "--why", "to see")
        await command("bots", "limit", "b", "1KiB")
        await command("bots", "restart", "nobody")
        found = json.loads((await command("bots", "actions", "--json")).stdout)

        assert [(entry["what"], entry["bot"], entry["uid"]) for entry in found] == [
            ("stop", "a", os.getuid()), ("limit", "b", os.getuid()),
            ("restart", "nobody", os.getuid()),
        ]  # fmt: skip
        assert (found[0]["why"], found[0]["result"]) == ("to see", "done")
        assert found[1]["result"].startswith("refused: memory = '1KiB' is less than 1MiB")
        assert found[2]["result"].startswith("refused: no bot 'nobody'")
        assert f"(pid {os.getpid()})" in found[0]["peer"]
        shown = (await command("bots", "actions", "a")).stdout
        assert "to see" in shown
        assert "nobody" not in shown

    run(test)


def test_a_bot_is_shown_with_its_crashes_and_last_lines(run: Run) -> None:
    async def test(fleet: Fleet, command: Command) -> None:
        os.kill(fleet.pid("a"), 9)
        await fleet.until(lambda: "crash report" in [what for _, what, _ in fleet.events("a")])
        await fleet.becomes("ready", "a")
        said = (await command("bots", "show", "a")).stdout

        assert said.startswith("a: ready for ")
        assert "killed by SIGKILL after" in said
        (found,) = json.loads((await command("bots", "show", "a", "--json")).stdout)
        assert found["crash_reports"][0]["words"] == "killed by SIGKILL"

    run(test)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_endless_output_is_cut_to_its_end(logged: Path, outrider: Outrider) -> None:
    logged.write_text("x" * 200_000 + "\nlast\n")

    assert outrider("bots", "logs", "a", "-n", "1").stdout == "last\n"


def test_a_bot_is_scaled_by_hand(run: Run) -> None:
    async def test(fleet: Fleet, command: Command) -> None:
        fleet.declared["a"] = fleet.spec("a")
        said = await command("bots", "scale", "a", "2", "--why", "busy evening")
        assert said.exit_code == 0
        assert [line.split()[0] for line in said.stdout.splitlines()[1:]] == ["a", "a-2"]
        assert ("a", "asked to scale") in {event[:2] for event in fleet.events("a")}

    run(test)


def test_scaling_without_a_number_says_what_is_missing(outrider: Outrider) -> None:
    said = outrider("bots", "scale", "a")

    assert said.exit_code == 2
    assert "give BOT and INSTANCES, or --explain" in said.output


def test_what_scaling_decided_is_explained(
    valkey_url: str, outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outrider.settings import Settings
    from outrider.store import connection, keys

    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    assert "nothing was decided yet" in outrider("bots", "scale", "--explain").output
    decided = {
        "bot": "a", "replicas": 1, "wanted": 4, "rate": 35.0, "queue": 12.0, "service_rate": 10.0,
        "result": "dry run: not done", "reason": "up from 1 to 4: it is busy",
    }  # fmt: skip
    with connection.connect(valkey_url) as client:
        client.hset(keys.scaling(Settings().host), "a", json.dumps(decided))

    said = outrider("bots", "scale", "--explain").output
    assert "35.00/s" in said
    assert "up from 1 to 4: it is busy" in said
    assert "dry run: not done" in said
    assert json.loads(outrider("bots", "scale", "a", "--explain", "--json").output) == [decided]


def test_limits_are_compared_with_what_was_used(
    valkey_url: str, outrider: Outrider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outrider.store import connection
    from outrider.store.redis import RedisStore

    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    (folder / "outrider.toml").write_text(
        '[bots.canary]\nentry = "m:f"\n[bots.canary.limits]\nmemory = "400MiB"\n'
    )
    with connection.connect(valkey_url) as client:
        store = RedisStore("", client=client)
        now = int(time.time() // 10)
        for tick in range(now - 120, now):
            store.append("one", tick, {"bot.canary.rss_bytes": 140.0 * (1 << 20)})

    said = outrider("bots", "limits").output
    assert "canary needs 140.0 MiB at p99 and is given 400.0 MiB: 180.0 MiB is enough." in said
    found = json.loads(outrider("bots", "limits", "--json").output)
    assert [(need["resource"], need["given"]) for need in found] == [
        ("memory", 400 << 20), ("cpu", None),
    ]  # fmt: skip
