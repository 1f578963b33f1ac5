"""One process through its states; every one is a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor import restart
from outrider.supervisor.spec import RestartPolicy
from tests.unit.supervisor.fleets import READY, SAYS_READY, WAIT, gone, python

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.supervisor.fleets import Fleet, Run

DEAF = python(
    """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    print("child", child.pid, flush=True)
    time.sleep(600)
    """
)


def test_a_process_is_started_and_stopped(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        pid, process = fleet.pid("a"), fleet.supervisor.processes["a"]
        assert process.start_s is not None
        assert 0 < process.start_s < 20

        await process.stop("enough")
        assert (process.state, process.reason, process.pid) == ("stopped", "enough", None)
        assert gone(pid)
        assert [what for _, what, _ in fleet.events("a")] == [
            "starting", "ready", "stopping", "stopped",
        ]  # fmt: skip
        assert (process.crashes, process.restarts) == (0, 0)

    run(test)


def test_a_process_is_ready_when_it_says_so(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        gate = fleet.folder / "gate"
        code = f"""
        {READY}
        import os, time
        while not os.path.exists({str(gate)!r}): time.sleep(0.01)
        ready(); time.sleep(600)
        """
        fleet.start(fleet.spec("a", python(_flat(code)), readiness="sdk"), fleet.spec("b"))
        await fleet.becomes("ready", "b")
        assert fleet.state("a") == "starting"

        gate.touch()
        await fleet.becomes("ready", "a")

    run(test)


def _flat(code: str) -> str:
    """Return a text without the indent that a multi-line part does not share."""
    return "\n".join(line.removeprefix(" " * 8) for line in code.splitlines())


def test_a_word_of_another_process_makes_nobody_ready(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        liar = python(f"{READY}\nready(pid=1)\nready(bot='b')\nimport time; time.sleep(600)")
        fleet.start(fleet.spec("a", liar, readiness="sdk"), fleet.spec("b", WAIT, readiness="sdk"))
        await fleet.until(lambda: fleet.supervisor.refused_frames == 2)

        assert (fleet.state("a"), fleet.state("b")) == ("starting", "starting")
        assert fleet.supervisor.frames == {}

    run(test)


def test_a_process_is_ready_when_its_probe_says_so(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        answers = iter(["not yet", "not yet", ""])
        fleet.start(fleet.spec("a", readiness="probe", probe=lambda: next(answers)))
        await fleet.becomes("ready", "a")

        assert list(answers) == []

    run(test)


def test_a_process_that_is_not_ready_in_time_is_killed_and_started_again(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", readiness="sdk", ready_timeout_s=0.2))
        await fleet.becomes("starting", "a")
        first = fleet.pid("a")
        process = fleet.supervisor.processes["a"]
        await fleet.until(lambda: process.restarts and process.pid)

        assert gone(first)
        assert ("a", "backoff", "not ready within 0 s") in fleet.events("a")
        assert process.crashes >= 1

    run(test)


def test_what_ended_a_process_is_told_of_that_process_only(run: Run, tmp_path: Path) -> None:
    """The second start exits by itself: it must not be said to have been killed as the first."""
    flag = tmp_path / "second"
    code = f"""
        import os, sys, time
        if os.path.exists({str(flag)!r}): sys.exit(3)
        open({str(flag)!r}, "w"); time.sleep(600)
    """

    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=1)
        fleet.start(
            fleet.spec("a", python(code), readiness="sdk", ready_timeout_s=1.0, restart=policy)
        )
        await fleet.becomes("failed", "a")

        assert ("a", "backoff", "not ready within 1 s") in fleet.events("a")
        assert fleet.reason("a") == "restarted 1 times in 60 s; last end: exited with code 3"

    run(test)


def test_a_crash_is_followed_by_a_wait_and_a_new_process(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.2,), most=100)
        fleet.start(fleet.spec("a", restart=policy))
        await fleet.becomes("ready", "a")
        first = fleet.pid("a")
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        await fleet.becomes("backoff", "a")
        assert fleet.supervisor.processes["a"].pid is None
        assert fleet.reason("a") == "killed by SIGKILL"
        await fleet.becomes("ready", "a")

        assert fleet.pid("a") != first
        assert time.monotonic() - killed >= 0.2
        status = fleet.supervisor.processes["a"].status()
        assert (status.restarts, status.crashes, status.reason) == (1, 1, "")

    run(test)


def test_a_process_that_keeps_crashing_is_given_up_with_a_reason(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=3)
        fleet.start(fleet.spec("a", python("import sys; sys.exit(7)"), restart=policy))
        await fleet.becomes("failed", "a")

        assert fleet.reason("a") == "restarted 3 times in 60 s; last end: exited with code 7"
        assert fleet.supervisor.processes["a"].crashes == 4

        fleet.supervisor.processes["a"].start()  # a person looked: its record is clean
        await fleet.until(lambda: fleet.supervisor.processes["a"].crashes == 8)
        assert fleet.state("a") == "failed"

    run(test)


def test_restarts_count_over_the_whole_window_however_long(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=2, window_s=7200.0)
        fleet.start(fleet.spec("a", restart=policy))
        await fleet.becomes("ready", "a")
        process = fleet.supervisor.processes["a"]
        process._restarts_s = [time.monotonic() - 5400]
        os.kill(fleet.pid("a"), signal.SIGKILL)
        await fleet.until(lambda: process.restarts == 1 and process.state == "ready")
        os.kill(fleet.pid("a"), signal.SIGKILL)
        await fleet.becomes("failed", "a")

    run(test)


@pytest.mark.parametrize(
    ("strategy", "code", "state", "crashes"),
    [
        ("never", 1, "stopped", 1),
        ("never", 0, "stopped", 0),
        ("on-failure", 0, "stopped", 0),
        ("on-failure", 1, "failed", 2),
        ("always", 0, "failed", 0),
    ],
)
def test_the_strategy_decides_what_follows_an_end(
    strategy: str, code: int, state: str, crashes: int, run: Run
) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(strategy, (0.0,), 1)  # type: ignore[arg-type]
        fleet.start(fleet.spec("a", python(f"import sys; sys.exit({code})"), restart=policy))
        await (fleet.ends("a") if state == "stopped" else fleet.becomes(state, "a"))

        assert fleet.supervisor.processes["a"].crashes == crashes

    run(test)


def test_a_process_may_tidy_up_within_its_grace(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        code = """
        import signal, sys, time
        def leave(*_): print("tidied", flush=True); sys.exit(0)
        signal.signal(signal.SIGTERM, leave); print("up", flush=True); time.sleep(600)
        """
        fleet.start(fleet.spec("a", python(code)))
        await fleet.until(lambda: fleet.supervisor.processes["a"].pid and "up" in fleet.log("a"))
        await fleet.supervisor.processes["a"].stop()

        await fleet.until(lambda: fleet.log("a") == "up\ntidied\n")

    run(test)


def test_a_process_that_ignores_the_request_is_killed_with_its_whole_tree(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", DEAF, grace_s=0.2))
        await fleet.until(lambda: fleet.supervisor.processes["a"].pid and "\n" in fleet.log("a"))
        parent, child = fleet.pid("a"), int(fleet.log("a").split()[1])
        assert not gone(child)
        await fleet.supervisor.processes["a"].stop()

        assert gone(parent)
        await fleet.until(lambda: gone(child))
        assert ("a", "killed", "ignored SIGTERM for 0 s") in fleet.events("a")

    run(test)


def test_the_children_of_a_process_that_crashed_go_with_it(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        never = RestartPolicy("never")
        fleet.start(fleet.spec("a", DEAF, restart=never))
        await fleet.until(lambda: fleet.supervisor.processes["a"].pid and "\n" in fleet.log("a"))
        child = int(fleet.log("a").split()[1])
        os.kill(fleet.pid("a"), signal.SIGKILL)
        await fleet.becomes("stopped", "a")

        await fleet.until(lambda: gone(child))

    run(test)


def test_a_program_that_is_not_there_is_said_to_be_missing(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=1)
        fleet.start(fleet.spec("a", ("no-such-program", "x"), restart=policy))
        await fleet.becomes("failed", "a")

        assert "can't be started: No such file or directory (no-such-program)" in fleet.reason("a")
        assert fleet.supervisor.processes["a"].crashes == 2

    run(test)


def test_a_working_folder_that_is_not_there_is_said_to_be_missing(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=1)
        fleet.start(fleet.spec("a", cwd="/no/such/folder", restart=policy))
        await fleet.becomes("failed", "a")

        assert "can't be started: No such file or directory (/no/such/folder)" in fleet.reason("a")
        assert fleet.supervisor.processes["a"].crashes == 2

    run(test)


def test_a_stop_ends_the_waiting_for_a_restart(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", restart=RestartPolicy(backoff_s=(600.0,))))
        await fleet.becomes("ready", "a")
        os.kill(fleet.pid("a"), signal.SIGKILL)
        await fleet.becomes("backoff", "a")
        await fleet.supervisor.processes["a"].stop()
        assert fleet.state("a") == "stopped"

        fleet.supervisor.processes["a"].start()
        await fleet.becomes("ready", "a")

    run(test)


def test_a_start_does_not_wait_for_the_back_off(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", restart=RestartPolicy(backoff_s=(600.0,))))
        await fleet.becomes("ready", "a")
        os.kill(fleet.pid("a"), signal.SIGKILL)
        await fleet.becomes("backoff", "a")
        fleet.supervisor.processes["a"].start()
        await fleet.becomes("ready", "a")

    run(test)


def children() -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process().children() if not gone(child.pid)}


def test_two_restarts_at_once_leave_one_process(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a"))
        await fleet.becomes("ready", "a")
        process = fleet.supervisor.processes["a"]
        before = children() - {fleet.pid("a")}
        await asyncio.gather(*(process.restart(f"order {number}") for number in range(3)))
        await fleet.becomes("ready", "a")

        assert children() - before == {fleet.pid("a")}
        assert process.restarts == 3

    run(test)


def test_a_start_while_it_stops_starts_it_when_it_has(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", DEAF, grace_s=0.2))
        await fleet.until(lambda: fleet.supervisor.processes["a"].pid and "\n" in fleet.log("a"))
        process, before = fleet.supervisor.processes["a"], fleet.pid("a")
        others = children() - {before}
        stopping = asyncio.ensure_future(process.stop())
        await fleet.becomes("stopping", "a")
        process.start()
        await stopping
        await fleet.becomes("ready", "a")

        assert fleet.pid("a") != before
        assert children() - others == {fleet.pid("a")}

    run(test)


def test_a_stop_after_that_start_is_the_last_word(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", DEAF, grace_s=0.2))
        await fleet.until(lambda: fleet.supervisor.processes["a"].pid and "\n" in fleet.log("a"))
        process = fleet.supervisor.processes["a"]
        first = asyncio.ensure_future(process.stop())
        await fleet.becomes("stopping", "a")
        process.start()
        await asyncio.gather(first, process.stop())

        assert process.state == "stopped"
        assert process.pid is None

    run(test)


def test_output_of_both_kinds_is_captured(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True)"
        fleet.start(fleet.spec("a", python(code), restart=RestartPolicy("never")))
        await fleet.ends("a")

        await fleet.until(lambda: fleet.log("a") == "out\nerr\n")

    run(test)


def test_a_process_leads_a_session_of_its_own_and_reads_nothing(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        code = "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()))"
        fleet.start(fleet.spec("a", python(code), restart=RestartPolicy("never")))
        await fleet.ends("a")

        await fleet.until(lambda: fleet.log("a") == "True ''\n")

    run(test)


def test_a_settled_process_begins_its_back_off_anew(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "SETTLED_S", 0.0)

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", restart=RestartPolicy(backoff_s=(0.0, 600.0), most=100)))
        process = fleet.supervisor.processes["a"]
        for restarts in range(4):
            await fleet.until(partial(lambda n: process.restarts == n, restarts))
            await fleet.becomes("ready", "a")
            os.kill(fleet.pid("a"), signal.SIGKILL)

    run(test)


def test_says_ready_is_heard_again_after_a_restart(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", SAYS_READY, readiness="sdk"))
        await fleet.becomes("ready", "a")
        await fleet.supervisor.processes["a"].restart("again")
        await fleet.becomes("ready", "a")

        assert fleet.supervisor.frames["a"].pid == fleet.pid("a")

    run(test)
