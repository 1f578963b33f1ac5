"""What a bot may do wrong, done for real: it harms only itself, and its state says why."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from outrider.supervisor import care, logs
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.spec import RestartPolicy
from outrider.supervisor.supervisor import Supervisor
from tests.unit.supervisor.fleets import READY, SAYS_READY, WAIT, Fleet, gone, opened, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from outrider.supervisor.launch import Launched
    from outrider.supervisor.spec import ProcessSpec
    from tests.unit.supervisor.fleets import Run

NEVER = RestartPolicy("never")


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(care, "LOOK_S", 0.05)


async def with_neighbour(fleet: Fleet) -> Callable[[], None]:
    """Start a good bot. Return what checks that nothing happened to it."""
    fleet.start(fleet.spec("neighbour", SAYS_READY, readiness="sdk"))
    await fleet.becomes("ready", "neighbour")
    pid = fleet.pid("neighbour")

    def check() -> None:
        assert (fleet.state("neighbour"), fleet.pid("neighbour")) == ("ready", pid)
        assert not gone(pid)

    return check


def marked(fleet: Fleet, name: str) -> list[int]:
    """Return every living process that was started for a bot, wherever it went."""
    mark = fleet.supervisor.family.mark(name)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("OUTRIDER_PROCESS") == mark and not gone(process.pid):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_bot_that_forks_wildly_is_ended_with_all_of_them(run: Run) -> None:
    # Doubles ten times at most, in case that nobody stopped it; half of them leave the session.
    bomb = """
    import os, time
    for _ in range(10):
        if os.fork() == 0 and os.getpid() % 2:
            os.setsid()
        time.sleep(0.05)
    time.sleep(600)
    """

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        fleet.start(fleet.spec("bomb", python(bomb), processes_limit=40, restart=NEVER))
        await fleet.becomes("starting", "bomb")
        await fleet.becomes("stopped", "bomb")

        assert fleet.reason("bomb") == (
            "its tree has more than 40 processes, as limits.processes allows"
        )
        await fleet.until(lambda: marked(fleet, "bomb") == [])
        check()

    run(test)


def test_a_daemon_that_left_its_bot_ends_with_it(run: Run) -> None:
    daemon = """
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for descriptor in (0, 1, 2): os.close(descriptor)
            time.sleep(600)
        os._exit(0)
    os.wait()
    print("up", flush=True)
    time.sleep(600)
    """

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", python(daemon)))
        await fleet.until(lambda: fleet.log("a") == "up\n")
        (left,) = set(marked(fleet, "a")) - {fleet.pid("a")}
        assert psutil.Process(left).ppid() == os.getpid()  # the kernel gave it to us
        await fleet.supervisor.processes["a"].stop()

        await fleet.until(lambda: gone(left))

    run(test)


def test_orphans_that_ended_are_collected_while_their_bot_runs(run: Run) -> None:
    leaves = """
    import os, time
    for _ in range(5):
        if os.fork() == 0:
            if os.fork() == 0: time.sleep(0.1)
            os._exit(0)
        os.wait()
    print("up", flush=True)
    time.sleep(600)
    """

    def zombies() -> int:
        own = psutil.Process().children()
        return sum(child.status() == psutil.STATUS_ZOMBIE for child in own)

    async def test(fleet: Fleet) -> None:
        before = zombies()
        fleet.start(fleet.spec("a", python(leaves)))
        await fleet.until(lambda: fleet.log("a") == "up\n")
        await asyncio.sleep(0.2)
        await fleet.until(lambda: zombies() <= before)

    run(test)


def test_a_bot_that_floods_its_log_waits_and_it_is_said(tmp_path: Path) -> None:
    flood = "while True: print('x' * 1000)"

    class Slow(Fleet):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            pipes = logs.Pipes(
                folder / "run", folder / "logs", most_bytes=200_000, kept=1, rate=2_000_000
            )
            self.supervisor = Supervisor(
                run_dir=folder / "run", logs_dir=folder / "logs", pipes=pipes
            )

    async def test() -> None:
        async with opened(Slow(tmp_path)) as fleet:
            check = await with_neighbour(fleet)
            fleet.start(fleet.spec("flooder", python(flood)))
            await fleet.until(
                lambda: "floods its log" in [what for _, what, _ in fleet.events("flooder")]
            )
            (said,) = [why for _, what, why in fleet.events("flooder") if what == "floods its log"]
            assert said.startswith("writes faster than [logs] rate and had to wait ")
            await asyncio.sleep(0.3)
            kept = [tmp_path / "logs" / name for name in ("flooder.log", "flooder.log.1")]
            on_disk = sum(logs.size_of(path) for path in kept)
            assert on_disk < 2 * 200_000 + 3 * 65_536
            assert (await fleet.order("snapshot"))["ok"]
            check()

    asyncio.run(test())


def test_a_bot_that_fills_the_telemetry_socket_keeps_nobody_from_being_heard(run: Run) -> None:
    flood = f"""{READY}
import time
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect(os.environ["OUTRIDER_TELEMETRY"])
ready()
while True: sender.send(b"nonsense" * 1000)
"""

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("flooder", python(flood), readiness="sdk"))
        await fleet.until(
            lambda: "floods its telemetry" in [what for _, what, _ in fleet.events("flooder")]
        )
        check = await with_neighbour(fleet)
        before = fleet.supervisor.refused_frames
        await asyncio.sleep(1.0)
        assert fleet.supervisor.refused_frames - before <= 250  # a hundred a second
        check()

    run(test)


def test_a_bot_that_deletes_its_working_folder_is_said_to_have_none(
    run: Run, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = f"import shutil; shutil.rmtree({str(home)!r}); raise SystemExit(1)"

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        policy = RestartPolicy(backoff_s=(0.0,), most=2)
        fleet.start(fleet.spec("a", python(code), cwd=str(home), restart=policy))
        await fleet.becomes("failed", "a")

        assert f"can't be started: No such file or directory ({home})" in fleet.reason("a")
        check()

    run(test)


def test_a_bot_that_is_never_ready_and_deaf_ends_all_the_same(run: Run) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        policy = RestartPolicy(backoff_s=(0.0,), most=1)
        fleet.start(
            fleet.spec("a", python(deaf), readiness="sdk", ready_timeout_s=0.3, restart=policy)
        )
        await fleet.becomes("failed", "a")

        assert fleet.reason("a").endswith("not ready within 0 s")
        check()

    run(test)


def test_a_bot_that_stopped_breathing_is_restarted_with_the_reason(run: Run) -> None:
    from outrider.supervisor.liveness import Liveness

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        fleet.start(
            fleet.spec("a", SAYS_READY, readiness="sdk", liveness=Liveness(heartbeat_s=0.5))
        )
        await fleet.until(lambda: fleet.supervisor.processes["a"].restarts)

        (why, *_) = [why for _, what, why in fleet.events("a") if what == "backoff"]
        assert why.startswith("hangs: nothing heard from it for ")
        check()

    run(test)


def test_a_bot_whose_probe_fails_is_restarted_with_what_the_probe_said(run: Run) -> None:
    from outrider.supervisor.liveness import Liveness

    well = [True]

    def said() -> str:
        return "" if well[0] else "http://x answers 500"

    async def test(fleet: Fleet) -> None:
        fleet.start(
            fleet.spec("a", readiness="probe", probe=said,
                       liveness=Liveness(probe=said, probe_every_s=0.05, failures=2))
        )  # fmt: skip
        await fleet.becomes("ready", "a")
        well[0] = False
        await fleet.until(lambda: fleet.supervisor.processes["a"].restarts)

        (why, *_) = [why for _, what, why in fleet.events("a") if what == "backoff"]
        assert why == "hangs: 2 probes in a row failed: http://x answers 500"

    run(test)


def test_a_bot_above_its_hard_cpu_limit_is_restarted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "CPU_FOR_S", 0.5)

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", python("while True: pass"), cpu_limit=0.01))
        await fleet.until(lambda: fleet.supervisor.processes["a"].restarts)

        (why,) = {why for _, what, why in fleet.events("a") if what == "stopping"}
        assert why.endswith("limit 0.01 cores for 0 s")

    run(test)


@contextlib.contextmanager
def no_more_processes() -> Iterator[None]:
    """Have the kernel refuse every fork of ours. Root is bound by no limit, so it is not root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    root = os.geteuid() == 0
    if root:
        assert libc.capget(header, sets) == 0
        effective = sets[0]
        sets[0] &= ~(1 << 21 | 1 << 24)  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
        assert libc.capset(header, sets) == 0
        os.setresuid(65534, 0, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        if root:
            os.setresuid(0, 0, 0)
            sets[0] = effective
            assert libc.capset(header, sets) == 0


def test_out_of_pids_is_a_state_and_no_end_of_the_supervisor(run: Run) -> None:
    """The kernel itself refuses the fork."""

    class NoPids(SpawnLauncher):
        async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
            with no_more_processes():
                return await super().launch(spec, output=output)

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        usual, fleet.supervisor.launcher = fleet.supervisor.launcher, NoPids()
        policy = RestartPolicy(backoff_s=(0.0,), most=2)
        fleet.start(fleet.spec("a", restart=policy))
        await fleet.becomes("failed", "a")
        assert "can't be started: Resource temporarily unavailable" in fleet.reason("a")
        check()

        fleet.supervisor.launcher = usual
        assert (await fleet.order("start", bot="a"))["ok"]
        await fleet.becomes("ready", "a")

    run(test)


def test_out_of_descriptors_is_a_state_and_no_end_of_the_supervisor(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        fleet.supervisor.add(fleet.spec("a", restart=RestartPolicy(backoff_s=(0.0,), most=2)))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            fleet.supervisor.processes["a"].start()
            await fleet.becomes("failed", "a")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "can't be started: Too many open files" in fleet.reason("a")
        check()
        fleet.supervisor.processes["a"].start()
        await fleet.becomes("ready", "a")

    run(test)


def test_a_bot_that_runs_out_of_memory_at_its_start_leaves_its_last_words(run: Run) -> None:
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
    kept = bytearray(1 << 30)
    """

    async def test(fleet: Fleet) -> None:
        check = await with_neighbour(fleet)
        fleet.start(fleet.spec("a", python(code), restart=NEVER))
        await fleet.until(lambda: "crash report" in [what for _, what, _ in fleet.events("a")])
        (said,) = [why for _, what, why in fleet.events("a") if what == "crash report"]

        assert said.startswith("exited with code 1 after ")
        assert said.endswith("crash no. 1; last line: MemoryError")
        check()

    run(test)


def test_a_crash_report_holds_how_it_ended_what_it_wrote_and_its_last_numbers(run: Run) -> None:
    code = f"{READY}\nready()\nimport time\nprint('last words', flush=True)\ntime.sleep(600)"

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", python(code), readiness="sdk"))
        await fleet.becomes("ready", "a")
        await fleet.until(lambda: "a" in fleet.supervisor.care.measured and fleet.log("a"))
        pid = fleet.pid("a")
        os.kill(pid, signal.SIGSEGV)
        await fleet.until(lambda: "crash report" in [what for _, what, _ in fleet.events("a")])
        (found,) = (await fleet.order("diagnose", bot="a"))["result"]
        report: dict[str, Any] = found["crash_reports"][0]

        assert (report["pid"], report["code"], report["words"], report["crashes"]) == (
            pid, -signal.SIGSEGV, "killed by SIGSEGV", 1,
        )  # fmt: skip
        assert report["log"] == ["last words"]
        assert report["metrics"]["rss_bytes"] > 1e6
        assert report["lived_s"] > 0
        assert report["then"] in ("backoff", "starting", "ready")

    run(test)


def test_the_log_keeper_that_was_killed_is_replaced_and_no_line_is_lost(run: Run) -> None:
    code = "import time\nfor n in range(10**9): print(n, flush=True); time.sleep(0.01)"

    async def test(fleet: Fleet) -> None:
        fleet.start(fleet.spec("a", python(code)))
        await fleet.until(lambda: fleet.log("a").count("\n") > 5)
        (keeper,) = [p for p, name in fleet.supervisor.family.mains.items() if "keeper" in name]
        os.kill(keeper, signal.SIGKILL)
        before = fleet.log("a").count("\n")
        await fleet.until(lambda: fleet.log("a").count("\n") > before + 20)

        lines = fleet.log("a").split("\n")[:-1]
        assert lines == [str(number) for number in range(len(lines))]
        assert fleet.state("a") == "ready"

    run(test)


def test_a_stack_of_bots_that_wait_is_not_looked_at_as_a_bomb(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        fleet.start(*(fleet.spec(f"b{number}", WAIT, processes_limit=1) for number in range(10)))
        await fleet.becomes("ready", *(f"b{number}" for number in range(10)))
        await asyncio.sleep(0.3)
        assert {p.restarts for p in fleet.supervisor.processes.values()} == {0}

    run(test)
