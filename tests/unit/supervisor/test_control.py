"""Orders over the real socket: what each does, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outrider import errors
from outrider.supervisor import audit, control
from outrider.supervisor.spec import RestartPolicy
from tests.unit.supervisor.fleets import SOON_S, Fleet, gone, opened, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.supervisor.fleets import Run


def test_a_bot_is_stopped_started_and_restarted(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"), fleet.spec("b"))
        await fleet.becomes("ready", "a", "b")
        first = fleet.pid("a")

        stopped = await fleet.order("stop", bot="a", who="me", why="to see")
        assert [
            (entry["name"], entry["state"], entry["reason"]) for entry in stopped["result"]
        ] == [("a", "stopped", "stop by me: to see")]
        assert gone(first)
        assert (await fleet.order("stop", bot="a"))["result"][0]["reason"] == "stop by somebody"
        started = await fleet.order("start", bot="a")
        assert started["result"][0]["state"] == "starting"
        await fleet.becomes("ready", "a")
        again = fleet.pid("a")
        assert (await fleet.order("start", bot="a"))["ok"]
        assert fleet.pid("a") == again

        restarted = await fleet.order("restart", bot="a")
        assert (restarted["result"][0]["restarts"], restarted["result"][0]["crashes"]) == (1, 0)
        assert fleet.pid("a") != again
        assert fleet.state("b") == "ready"

    run(test)


def test_a_name_stands_for_all_its_instances_and_all_for_everybody(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("a"), fleet.spec("a-2", bot="a"), fleet.spec("b"),
            fleet.spec("worker", kind="stack"),
        )  # fmt: skip
        await fleet.becomes("ready", "a", "a-2", "b", "worker")

        async def names(bot: str) -> list[str]:
            return [entry["name"] for entry in (await fleet.order("start", bot=bot))["result"]]

        assert await names("a") == ["a", "a-2"]
        assert await names("a-2") == ["a-2"]
        assert await names("all") == ["a", "a-2", "b"]
        assert (await fleet.order("stop", bot="worker"))["type"] == "UnknownBot"

    run(test)


def test_a_bot_is_scaled_up_and_down(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        spec = fleet.declared["a"] = fleet.spec("a")
        fleet.start(spec)
        await fleet.becomes("ready", "a")
        first = fleet.pid("a")

        up = await fleet.order("scale", bot="a", instances=3, who="me", why="load")
        assert [entry["name"] for entry in up["result"]] == ["a", "a-2", "a-3"]
        await fleet.becomes("ready", "a", "a-2", "a-3")
        third = fleet.pid("a-3")
        assert ("a", "asked to scale", "to 3 by me: load") in fleet.events("a")

        down = await fleet.order("scale", bot="a", instances=1)
        assert [entry["name"] for entry in down["result"]] == ["a"]
        assert list(fleet.supervisor.processes) == ["a"]
        assert fleet.pid("a") == first
        assert gone(third)

        assert (await fleet.order("scale", bot="a", instances=0))["result"] == []
        assert gone(first)
        assert (await fleet.order("scale", bot="a", instances=1))["ok"]
        await fleet.becomes("ready", "a")

    run(test)


def test_of_two_scalings_at_once_the_last_counts(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        spec = fleet.declared["a"] = fleet.spec("a")
        fleet.start(spec)
        await fleet.order("scale", bot="a", instances=4)
        answers = await asyncio.gather(
            *(fleet.order("scale", bot="a", instances=count) for count in (1, 3, 2))
        )

        assert all(answer["ok"] for answer in answers)
        assert len(fleet.supervisor.processes) in (1, 2, 3)
        await fleet.becomes("ready", *fleet.supervisor.processes)

    run(test)


@pytest.mark.parametrize("instances", [-1, 1001, 2.0, "2", True, None, [], {}])
def test_a_number_of_instances_that_is_none_is_refused(instances: Any, run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.declared["a"] = fleet.spec("a")
        answer = await fleet.order("scale", bot="a", instances=instances)

        assert (answer["ok"], answer["type"]) == (False, "BadArgument")
        assert "whole number from 0 to 1000" in answer["error"]

    run(test)


def test_a_memory_limit_is_changed_for_the_processes_that_run(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", memory_limit_bytes=5 << 20))
        answer = await fleet.order("limit", bot="a", memory="300MiB", who="me")
        assert answer["result"][0]["memory_limit_bytes"] == 300 << 20
        assert fleet.supervisor.processes["a"].spec.memory_limit_bytes == 300 << 20
        assert ("a", "memory limit", "300.0 MiB, by me") in fleet.events("a")

        await fleet.order("limit", bot="a")
        assert fleet.supervisor.processes["a"].spec.memory_limit_bytes is None

    run(test)


@pytest.mark.parametrize("memory", ["much", "", "1kB", -1, [], True, "9" * 400 + "TiB"])
def test_a_memory_limit_that_is_none_is_refused(memory: Any, run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        answer = await fleet.order("limit", bot="a", memory=memory)

        assert (answer["ok"], answer["type"]) == (False, "BadArgument")

    run(test)


def test_a_diagnosis_holds_state_output_and_events(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        code = "for n in range(30): print('line', n)\nimport sys; sys.exit(3)"
        never = RestartPolicy("never")
        fleet.start(fleet.spec("a", python(code), restart=never, readiness="sdk"))
        await fleet.until(lambda: "crash report" in [what for _, what, _ in fleet.events("a")])
        (found,) = (await fleet.order("diagnose", bot="a"))["result"]

        assert (found["state"], found["reason"], found["frame"]) == (
            "stopped", "exited with code 3", None,
        )  # fmt: skip
        assert found["log"] == [f"line {number}" for number in range(10, 30)]
        assert [event["what"] for event in found["events"]] == [
            "starting", "stopped", "crash report",
        ]  # fmt: skip
        (report,) = found["crash_reports"]
        assert (report["code"], report["crashes"], report["log"]) == (3, 1, found["log"])

    run(test)


@pytest.mark.parametrize(
    ("order", "kind", "words"),
    [
        ({"do": "dance", "bot": "a"}, "BadArgument", "unknown order 'dance'"),
        ({"do": None, "bot": "a"}, "BadArgument", "unknown order None"),
        ({}, "UnknownBot", "no bot ''"),
        ({"do": "stop"}, "UnknownBot", "this fleet has: a"),
        ({"do": "stop", "bot": "b"}, "UnknownBot", "no bot 'b'; this fleet has: a"),
        ({"do": "stop", "bot": ["a"]}, "UnknownBot", "no bot"),
        ({"do": "scale", "bot": "b", "instances": 1}, "UnknownBot", "no bot 'b'"),
        ({"do": "scale", "bot": "all", "instances": 1}, "UnknownBot", "no bot 'all'"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    order: dict[str, Any], kind: str, words: str, run: Run
) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.declared["a"] = fleet.spec("a")
        fleet.start(fleet.declared["a"])
        fields = {"do": None} | order
        answer = await fleet.order(**fields)

        assert (answer["ok"], answer["type"]) == (False, kind)
        assert words in answer["error"]

    run(test)


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"{", b"[]", b"null", b"5", b'"text"', b"[" * 60_000, b'{"do": NaN}', b" "],
)
def test_bytes_that_are_no_order_are_refused_and_the_next_is_heard(line: bytes, run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        reader, writer = await asyncio.open_unix_connection(fleet.folder / "run" / "control.sock")
        with contextlib.closing(writer):
            for _ in range(2):
                writer.write(line + b"\n")
                answer = json.loads(await asyncio.wait_for(reader.readline(), SOON_S))
                assert answer["ok"] is False
            writer.write(b'{"do": "snapshot"}\n')
            assert json.loads(await asyncio.wait_for(reader.readline(), SOON_S))["ok"]

    run(test)


def test_an_order_without_end_is_hung_up_on(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        reader, writer = await asyncio.open_unix_connection(fleet.folder / "run" / "control.sock")
        with contextlib.closing(writer):
            writer.write(b"x" * 200_000)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), SOON_S) == b""
        assert (await fleet.order("snapshot"))["ok"]

    run(test)


def test_a_fault_of_ours_is_told_to_who_gave_the_order(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(fleet: Fleet) -> None:
        monkeypatch.setattr(fleet.supervisor, "snapshot", lambda _: 1 / 0)
        answer = await fleet.order("snapshot")

        assert answer == {
            "ok": False, "type": "", "error": "ZeroDivisionError: division by zero",
        }  # fmt: skip

    run(test)


@contextlib.contextmanager
def answering(folder: Path, answer: bytes) -> Iterator[None]:
    """Listen as a supervisor would, and answer whatever is asked."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / control.SOCKET))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_a_client_asks_over_the_socket_and_gets_the_result(tmp_path: Path) -> None:
    with answering(tmp_path, b'{"ok": true, "result": [1, 2]}\n'):
        assert control.ask(tmp_path, "snapshot") == [1, 2]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("BadArgument", errors.BadArgument),
        ("UnknownBot", errors.UnknownBot),
        ("", errors.OutriderError),
        ("KeyboardInterrupt", errors.OutriderError),
    ],
)
def test_a_refusal_comes_out_as_the_error_that_it_was(
    kind: str, expected: type[Exception], tmp_path: Path
) -> None:
    answer = json.dumps({"ok": False, "type": kind, "error": "words"}).encode() + b"\n"
    with answering(tmp_path, answer), pytest.raises(errors.OutriderError, match="words") as caught:
        control.ask(tmp_path, "stop", bot="a")

    assert caught.type is expected


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"\xff\n"])
def test_an_answer_that_is_none_is_nobody_there(answer: bytes, tmp_path: Path) -> None:
    with answering(tmp_path, answer), pytest.raises(errors.SupervisorUnavailable):
        control.ask(tmp_path, "snapshot")


def test_where_nobody_listens_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(errors.SupervisorUnavailable, match="outrider up") as caught:
        control.ask(tmp_path, "snapshot")

    assert not caught.value.permanent
    assert control.answers(tmp_path) is False


def test_a_supervisor_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / control.SOCKET))
        listener.listen()

        assert control.answers(tmp_path) is True
        with pytest.raises(errors.SupervisorUnavailable):
            control.ask(tmp_path, "snapshot", timeout_s=0.1)


def test_a_client_of_another_thread_is_served(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        folder = fleet.folder / "run"
        found = await asyncio.to_thread(control.ask, folder, "snapshot")
        assert found["processes"][0]["name"] == "a"

        with pytest.raises(errors.UnknownBot, match="this fleet has: a"):
            await asyncio.to_thread(control.ask, folder, "stop", bot="b")
        os.kill(fleet.pid("a"), signal.SIGKILL)

    run(test)


STRANGER = """
import os, socket, sys
if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect(sys.argv[1])
    try: peer.sendall(b'{"do": "stop", "bot": "a"}' + bytes([10]))
    except BrokenPipeError: pass
    print(peer.makefile().readline())
"""


def test_another_user_is_refused_and_it_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders are opened to everybody, to show that they are not the only lock.

    Only root can become another user; for others, the supervisor's user is said to be another.
    """
    if os.geteuid() != 0:
        monkeypatch.setattr(control, "_owner", lambda: os.geteuid() + 1)
    uid = 65534 if os.geteuid() == 0 else os.geteuid()

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        for path in (fleet.folder, fleet.folder / "run"):
            path.chmod(0o755)
        (fleet.folder / "run" / control.SOCKET).chmod(0o666)
        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", STRANGER, str(fleet.folder / "run" / control.SOCKET),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await stranger.communicate()
        answer = json.loads(said)

        assert (answer["ok"], answer["type"]) == (False, "BadArgument")
        assert f"user {uid} may give no orders here" in answer["error"]
        assert fleet.state("a") == "ready"
        (entry,) = audit.read(fleet.folder / "logs", most=9)
        assert (entry["what"], entry["uid"]) == ("connect", uid)
        assert entry["result"] == "refused: not the owner of the supervisor"
        assert ("-", "connect refused", entry["result"]) in fleet.events()

    async def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with opened(Fleet(Path(folder))) as fleet:
                await test(fleet)

    asyncio.run(whole())


def test_an_order_is_recorded_with_the_peer_that_the_kernel_names(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        await fleet.order("stop", bot="a", who="a liar", why="w" * 9999)
        (entry,) = audit.read(fleet.folder / "logs", most=9)

        assert (entry["uid"], entry["who"], entry["result"]) == (os.getuid(), "a liar", "done")
        assert entry["peer"].endswith(f"(pid {os.getpid()})")
        assert len(entry["why"]) == 500
        (told,) = [e for e in fleet.supervisor.events if e["what"] == "asked to stop"]
        assert (told["who"], told["why"]) == ("a liar", "w" * 9999)

    run(test)


def test_the_record_is_bounded_and_survives_a_cut_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 1000)
    peer = audit.Peer(1, 4_000_000)
    for number in range(50):
        audit.keep(tmp_path, what="stop", bot=f"b{number % 2}", who="", peer=peer, why="",
                   result=str(number))  # fmt: skip
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"at_s": 1, "wh')

    newest = [entry["result"] for entry in audit.read(tmp_path, most=3)]
    assert newest == ["47", "48", "49"]
    assert {entry["bot"] for entry in audit.read(tmp_path, most=9, bot="b1")} == {"b1"}
    assert audit.read(tmp_path, most=1)[0]["peer"] == "uid 4000000 (pid 1)"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3000
