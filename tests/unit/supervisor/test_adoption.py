"""A supervisor is killed; the next one in the same folder goes on where it left off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.supervisor import family, registry
from outrider.supervisor.spec import RestartPolicy
from tests.unit.supervisor.fleets import Fleet, end, gone, opened, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TALKS = python(
    """
    import json, os, socket, struct, sys, time
    def ready():
        name = os.environ["OUTRIDER_BOT"].encode()
        frame = (b"\\x84\\xa3bot" + bytes([0xa0 + len(name)]) + name
                 + b"\\xa3pid\\xce" + struct.pack(">I", os.getpid())
                 + b"\\xa4at_s\\xcb" + struct.pack(">d", time.time()) + b"\\xa5ready\\xc3")
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.sendto(frame, os.environ["OUTRIDER_TELEMETRY"])
    number = 0
    while True:
        try: ready()
        except OSError: pass
        number += 1
        print("line", number, flush=True)
        time.sleep(0.05)
    """
)
DAEMON = python(
    """
    import os, time
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("daemon", os.getpid(), flush=True)
            time.sleep(600)
        os._exit(0)
    time.sleep(600)
    """
)
OWNER = """
import asyncio, pickle, sys
from pathlib import Path
from tests.unit.supervisor.fleets import Fleet

async def main():
    fleet = Fleet(Path(sys.argv[1]))
    await fleet.supervisor.open()
    specs = [fleet.spec(name, argv, **options) for name, argv, options in eval(sys.argv[2])]
    fleet.start(*specs)
    await fleet.until(lambda: all(fleet.state(spec.name) == "ready" for spec in specs))
    for order in eval(sys.argv[3]):
        assert (await fleet.order(**order))["ok"]
    await asyncio.sleep(0)
    print(*(p.pid or 0 for p in fleet.supervisor.processes.values()), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


class Owner:
    """A supervisor in a process of its own, to be killed."""

    def __init__(self, folder: Path, *specs: Any, orders: Any = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder), repr(list(specs)), repr(list(orders))],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.pids = [int(pid) for pid in self.process.stdout.readline().split()]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Callable[..., Owner]]:
    family.become_subreaper()  # what the killed one had comes to us, as to `outrider up`
    owners: list[Owner] = []

    def start(*specs: Any, **options: Any) -> Owner:
        owners.append(Owner(tmp_path, *specs, **options))
        return owners[-1]

    yield start
    for each in owners:
        if each.process.poll() is None:
            each.kill()
        for pid in each.pids:
            if pid:
                end(pid)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def named(count: int, argv: tuple[str, ...], **options: Any) -> list[Any]:
    return [(f"bot{number}", argv, options) for number in range(count)]


def reaping(pid: int) -> None:
    """Collect a child as the parent of `outrider up` does."""
    deadline = time.monotonic() + 20
    with contextlib.suppress(ChildProcessError):  # a supervisor in this process was quicker
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_all_of_twenty_bots_are_adopted_with_their_pids_logs_and_telemetry(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    specs = named(20, TALKS, readiness="sdk")
    before = owner(*specs)
    before.kill()
    assert [pid for pid in before.pids if gone(pid)] == []

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            again = [fleet.spec(name, argv, **options) for name, argv, options in specs]
            fleet.start(*again)
            await fleet.supervisor.settle_left()
            assert [fleet.pid(spec.name) for spec in again] == before.pids
            assert {fleet.state(spec.name) for spec in again} == {"ready"}
            assert {p.restarts for p in fleet.supervisor.processes.values()} == {0}
            assert all(
                fleet.supervisor.processes[spec.name].status().how == "adopted (spawn)"
                for spec in again
            )
            await fleet.until(lambda: len(fleet.supervisor.frames) == 20)  # they speak to us now
            lines = {spec.name: fleet.log(spec.name).count("\n") for spec in again}
            await fleet.until(
                lambda: all(fleet.log(name).count("\n") > seen for name, seen in lines.items())
            )
            for spec in again:  # not a line is missing
                written = fleet.log(spec.name).split("\n")[:-1]
                assert written == [f"line {number}" for number in range(1, len(written) + 1)]

    asyncio.run(test())
    assert [pid for pid in before.pids if not gone(pid)] == []


def test_a_bot_that_ended_meanwhile_is_started_again(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    specs = named(2, TALKS, readiness="sdk")
    before = owner(*specs)
    before.kill()
    end(before.pids[0])
    reaping(before.pids[0])

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(*(fleet.spec(name, argv, **options) for name, argv, options in specs))
            await fleet.becomes("ready", "bot0", "bot1")
            assert fleet.pid("bot0") != before.pids[0]
            assert fleet.pid("bot1") == before.pids[1]
            assert "ended meanwhile" in [what for _, what, _ in fleet.events("bot0")]
            assert fleet.supervisor.processes["bot0"].crashes == 1

    asyncio.run(test())


def test_the_end_of_an_adopted_bot_is_seen_at_once_and_it_is_started_again(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    specs = named(1, TALKS, readiness="sdk")
    before = owner(*specs)
    before.kill()

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(*(fleet.spec(name, argv, **options) for name, argv, options in specs))
            os.kill(before.pids[0], signal.SIGKILL)
            await asyncio.to_thread(reaping, before.pids[0])
            await fleet.until(lambda: fleet.supervisor.processes["bot0"].restarts == 1)
            await fleet.becomes("ready", "bot0")
            told = [detail for _, what, detail in fleet.events("bot0") if what == "backoff"]
            # The kernel tells since Linux 6.15; before, it is said that it can't be known.
            assert told in (
                ["killed by SIGKILL"],
                ["ended; how is not known, as it was no child of this supervisor"],
            )

    asyncio.run(test())


def test_what_was_stopped_or_failed_stays_so_and_scaled_instances_and_limits_are_kept(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    specs = [*named(2, TALKS, readiness="sdk"), ("many", TALKS, {"readiness": "sdk"}),
             ("many-2", TALKS, {"readiness": "sdk", "bot": "many"})]  # fmt: skip
    orders = [{"do": "stop", "bot": "bot0"}, {"do": "limit", "bot": "bot1", "memory": "900MiB"}]
    before = owner(*specs, orders=orders)
    before.kill()

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.declared["many"] = fleet.spec("many", TALKS, readiness="sdk")
            # As the settings have it: one instance of `many`.
            fleet.start(*(fleet.spec(name, argv, **opts) for name, argv, opts in specs[:3]))
            await fleet.supervisor.settle_left()
            await fleet.becomes("ready", "bot1", "many", "many-2")
            assert fleet.state("bot0") == "stopped"
            assert fleet.reason("bot0") == "stop by somebody"
            assert fleet.pid("many-2") == before.pids[3]
            assert fleet.supervisor.processes["bot1"].spec.memory_limit_bytes == 900 << 20

            assert (await fleet.order("start", bot="bot0"))["ok"]
            await fleet.becomes("ready", "bot0")

    asyncio.run(test())


def test_what_no_settings_name_any_more_is_ended_with_its_daemons(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    before = owner(("old", DAEMON, {}), ("kept", TALKS, {"readiness": "sdk"}))
    log = tmp_path / "logs" / "old.log"
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    daemon = int(log.read_text().split()[1])
    before.kill()
    assert not gone(daemon)

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(fleet.spec("kept", TALKS, readiness="sdk"))
            await fleet.supervisor.settle_left()
            await fleet.until(lambda: gone(before.pids[0]) and gone(daemon))
            assert fleet.pid("kept") == before.pids[1]

    asyncio.run(test())


def test_a_bot_whose_settings_changed_is_adopted_and_it_is_said(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    before = owner(*named(1, TALKS, readiness="sdk"))
    before.kill()

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(fleet.spec("bot0", (*TALKS, "--new"), readiness="sdk"))
            (detail,) = [detail for _, what, detail in fleet.events("bot0") if what == "adopted"]
            assert detail == (
                f"pid {before.pids[0]}; its settings changed since its start: restart it to apply"
                " them"
            )
            await fleet.order("restart", bot="bot0")
            await fleet.becomes("ready", "bot0")
            assert fleet.pid("bot0") != before.pids[0]

    asyncio.run(test())


def test_an_adopted_bot_is_stopped_with_its_daemon(
    tmp_path: Path, owner: Callable[..., Owner]
) -> None:
    before = owner(("a", DAEMON, {}))
    log = tmp_path / "logs" / "a.log"
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    daemon = int(log.read_text().split()[1])
    before.kill()

    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(fleet.spec("a", DAEMON))
            assert fleet.pid("a") == before.pids[0]
            await fleet.supervisor.processes["a"].stop()
            await fleet.until(lambda: gone(daemon))

    asyncio.run(test())


def test_a_pid_that_was_given_to_another_process_is_not_adopted(tmp_path: Path) -> None:
    kin = family.look(os.getpid())
    assert kin is not None
    record = registry.Record("a", "a", "bot", "ready", pid=os.getpid(), born=kin.born - 1)
    registry.save(tmp_path, [record])

    assert registry.load(tmp_path)["a"].pid is None
    assert registry.held(record) is None


def test_after_a_start_of_the_host_no_pid_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kin = family.look(os.getpid())
    assert kin is not None
    record = registry.Record("a", "a", "bot", "failed", "why", pid=os.getpid(), born=kin.born)
    registry.save(tmp_path, [record])
    assert registry.load(tmp_path)["a"].pid == os.getpid()
    monkeypatch.setattr(registry, "_boot_id", lambda: "another")

    found = registry.load(tmp_path)["a"]
    assert (found.pid, found.state, found.reason) == (None, "failed", "why")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot": 5}', b"\xff"])
def test_a_damaged_registry_is_as_good_as_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / registry.FILE).write_bytes(content)

    assert registry.load(tmp_path) == {}


def test_a_closed_supervisor_leaves_nothing_to_adopt(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(Fleet(tmp_path)) as fleet:
            fleet.start(fleet.spec("a", restart=RestartPolicy("never")))
            await fleet.becomes("ready", "a")
            await fleet.until((tmp_path / "run" / registry.FILE).exists)

    asyncio.run(test())
    assert list((tmp_path / "run").iterdir()) == []
