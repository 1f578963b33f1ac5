"""Bots forked by real zygotes, under a real supervisor."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from outrider.supervisor.spec import RestartPolicy
from outrider.supervisor.zygote import handle, launcher, spare
from tests.unit.supervisor.fleets import end, gone

if TYPE_CHECKING:
    from tests.unit.supervisor.fleets import Run
    from tests.unit.supervisor.zygote.conftest import Forking

NEVER = RestartPolicy("never")
TELLS = """
import asyncio, json, os, random, sys
import outrider
{more}
async def main():
    {facts}
    print(json.dumps(told), flush=True)
    outrider.Bot("nobody").ready()
    try:
        await asyncio.sleep(600)
    finally:
        print("tidied", flush=True)
"""


def bot(facts: str = "told = {}", more: str = "") -> str:
    return TELLS.format(more=more, facts=f"told = {{}}; {facts}")


def told(fleet: Forking, name: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + 10
    while not (lines := fleet.log(name).splitlines()):  # the keeper is another process
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def how(fleet: Forking, name: str) -> str:
    """Return the title that tells a fork from a new process."""
    return " ".join(psutil.Process(fleet.pid(name)).cmdline()).strip()


def test_a_bot_is_forked_and_looks_like_one_of_its_own(run: Run) -> None:
    facts = (
        "told = dict(argv=sys.argv[1:], cwd=os.getcwd(), bot=os.environ['OUTRIDER_BOT'], "
        "own=os.environ.get('OWN'), leads=os.getsid(0) == os.getpid(), stdin=sys.stdin.read(), "
        "name=outrider.Bot().name, tasks=len(os.listdir('/proc/self/task')))"
    )

    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot(facts))
        env = dict(fleet.spec("canary").env) | {"OWN": "value"}
        fleet.start(fleet.entry("canary", "mybots:main", env=env))
        await fleet.becomes("ready", "canary")

        assert how(fleet, "canary") == "outrider: canary (mybots:main)"
        assert psutil.Process(fleet.pid("canary")).ppid() == os.getpid()
        assert psutil.Process(fleet.pid("canary")).name() == "canary"
        assert told(fleet, "canary") == {
            "argv": ["mybots:main"], "cwd": str(fleet.folder), "bot": "canary", "own": "value",
            "leads": True, "stdin": "", "name": "canary", "tasks": 2,
        }  # fmt: skip
        descriptors = Path(f"/proc/{fleet.pid('canary')}/fd")
        pipe = fleet.supervisor.pipes.folder / "canary"
        assert [(descriptors / number).readlink() for number in "12"] == [pipe] * 2
        assert psutil.Process(fleet.pid("canary")).open_files() == []

    run(test)  # type: ignore[arg-type]


def test_a_forked_bot_stops_like_any_other_and_its_end_is_known(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot() + "\ndef leaves(): raise SystemExit(7)\n")
        fleet.start(fleet.entry("a", "mybots:main"))
        fleet.start(fleet.entry("b", "mybots:leaves", restart=NEVER))
        await fleet.becomes("ready", "a")
        await fleet.ends("b")
        assert fleet.reason("b") == "exited with code 7"

        pid = fleet.pid("a")
        os.kill(pid, signal.SIGKILL)
        await fleet.until(lambda: ("a", "backoff", "killed by SIGKILL") in fleet.events("a"))
        await fleet.becomes("ready", "a")
        assert fleet.pid("a") != pid
        await fleet.supervisor.processes["a"].stop()
        assert fleet.log("a").endswith("tidied\n")

    run(test)  # type: ignore[arg-type]


def test_many_at_once_are_all_forked(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        names = [f"bot-{number}" for number in range(12)]
        fleet.start(*(fleet.entry(name, "mybots:main") for name in names))
        await fleet.becomes("ready", *names)

        assert {how(fleet, name) for name in names} == {
            f"outrider: {name} (mybots:main)" for name in names
        }
        assert len({fleet.pid(name) for name in names}) == len(names)
        assert len(fleet.zygotes()) == 1

    run(test)  # type: ignore[arg-type]


def test_what_has_no_entry_is_spawned(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.start(fleet.spec("shell", ("sh", "-c", "exec sleep 600")))
        await fleet.becomes("ready", "shell")

        assert fleet.reason("shell") == ""
        assert fleet.zygotes() == []

    run(test)  # type: ignore[arg-type]


DRAWS = """
import random, tempfile, uuid
import numpy.random
UNSEEDED, SEEDED = random.Random(), random.Random(42)
ARRAYS, FIXED = numpy.random.default_rng(), numpy.random.default_rng(42)
FOLDER = tempfile.TemporaryDirectory()
"""
DRAWN = (
    "told = dict(module=random.random(), own=shared.UNSEEDED.random(), "
    "numpy=shared.numpy.random.random(), generator=shared.ARRAYS.random(), "
    "uuid=str(shared.uuid.uuid4()), name=next(shared.tempfile._get_candidate_names())); "
    "told['fixed'] = (shared.SEEDED.random(), shared.FIXED.random())"
)


def test_forks_draw_their_own_random_numbers_but_keep_a_seed_that_was_chosen(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", DRAWS)
        fleet.write("mybots.py", bot(DRAWN, more="import shared"))
        for name in ("a", "b"):
            fleet.start(fleet.entry(name, "mybots:main", preload=("shared",)))
        await fleet.becomes("ready", "a", "b")
        assert (fleet.reason("a"), fleet.reason("b")) == ("", "")
        first, second = told(fleet, "a"), told(fleet, "b")

        assert first.pop("fixed") == second.pop("fixed")
        assert [name for name in first if first[name] == second[name]] == []

    run(test)  # type: ignore[arg-type]


def test_a_hook_at_exit_that_was_inherited_harms_nobody(run: Run) -> None:
    more = """
import atexit, shared
atexit.register(print, "own hook")
"""
    shared = f"{DRAWS}\nimport atexit\natexit.register(print, 'inherited hook')"

    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", shared)
        fleet.write("mybots.py", bot("told['folder'] = shared.FOLDER.name", more))
        fleet.start(fleet.entry("a", "mybots:main", preload=("shared",)))
        await fleet.becomes("ready", "a")
        folder = told(fleet, "a")["folder"]
        await fleet.supervisor.processes["a"].stop()

        assert fleet.log("a").endswith("tidied\nown hook\n")
        assert os.path.isdir(folder)  # noqa: PTH112, ASYNC240 - other forks use it
        os.rmdir(folder)  # noqa: PTH106

    run(test)  # type: ignore[arg-type]


THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True, name="poller").start()
"""


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (THREAD, "started without a zygote: importing odd starts thread poller ("),
        ("import socket\nS = socket.socket()", "importing odd leaves open socket:"),
        ("import nowhere", "preloading odd failed: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "preloading odd failed: SystemExit: 3"),
        ("import os\nos._exit(3)", "importing odd ends the process"),
    ],
)
def test_a_module_that_can_not_be_preloaded_is_named_and_harms_only_who_wants_it(
    module: str, why: str, run: Run
) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("odd.py", module)
        fleet.write("mybots.py", bot())
        fleet.start(
            fleet.entry("a", "mybots:main", preload=("odd",)), fleet.entry("b", "other:main")
        )
        fleet.write("other.py", bot())
        await fleet.becomes("ready", "a", "b")

        assert why in fleet.reason("a")
        assert ("a", "spawned", fleet.reason("a")) in fleet.events("a")
        assert how(fleet, "a").endswith("outrider.supervisor.entry mybots:main")
        assert ("Traceback" in fleet.log("a")) == ("failed" in why)
        assert how(fleet, "b") == "outrider: b (other:main)"
        assert fleet.reason("b") == ""

    run(test)  # type: ignore[arg-type]


LATE = """
import gc, threading, time
freeze = gc.freeze
def freeze_and_start():
    freeze()
    threading.Thread(target=time.sleep, args=(600,), daemon=True, name="late").start()
gc.freeze = freeze_and_start
"""


def test_a_thread_that_a_zygote_began_after_its_imports_is_named_too(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("odd.py", LATE)
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main", preload=("odd",)))
        await fleet.becomes("ready", "a")

        assert "the zygote runs thread late (" in fleet.reason("a")

    run(test)  # type: ignore[arg-type]


def test_changed_code_is_in_the_next_start(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", "VALUE = 1")
        fleet.write("mybots.py", bot("told = dict(value=shared.VALUE, own=1)", "import shared"))
        fleet.start(fleet.entry("a", "mybots:main", preload=("shared",)))
        await fleet.becomes("ready", "a")
        (before,) = fleet.zygotes()

        fleet.write("mybots.py", bot("told = dict(value=shared.VALUE, own=22)", "import shared"))
        fleet.write("shared.py", "VALUE = 22")
        process = fleet.supervisor.processes["a"]
        await process.restart("to see")
        await fleet.becomes("ready", "a")

        assert told(fleet, "a") == {"value": 22, "own": 22}
        assert how(fleet, "a") == "outrider: a (mybots:main)"
        assert before not in fleet.zygotes()

    run(test)  # type: ignore[arg-type]


def test_a_change_boots_a_fresh_zygote_before_anybody_asks(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "SETTLE_S", 0.01)

    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", "VALUE = 1")
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main", preload=("shared",)))
        await fleet.becomes("ready", "a")
        (before,), pid = fleet.zygotes(), fleet.pid("a")

        fleet.write("shared.py", "VALUE = 22")
        await fleet.until(lambda: fleet.zygotes() not in ([], [before]))
        assert fleet.pid("a") == pid

    run(test)  # type: ignore[arg-type]


def test_bots_outlive_their_zygote_and_the_next_start_has_another(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main"))
        await fleet.becomes("ready", "a")
        (zygote,), pid = fleet.zygotes(), fleet.pid("a")
        end(zygote)
        await fleet.until(lambda: gone(zygote))
        fleet.start(fleet.entry("b", "mybots:main"))
        await fleet.becomes("ready", "b")

        assert fleet.pid("a") == pid
        assert how(fleet, "b") == "outrider: b (mybots:main)"

    run(test)  # type: ignore[arg-type]


def test_bots_outlive_the_launcher(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main"))
        await fleet.becomes("ready", "a")
        await fleet.launcher.close()

        assert fleet.zygotes() == []
        assert not gone(fleet.pid("a"))
        assert fleet.state("a") == "ready"

    run(test)  # type: ignore[arg-type]


def test_a_variable_that_an_import_read_takes_a_zygote_of_its_own(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", "import os\nMODE = os.environ.get('SHARED_MODE')")
        fleet.write("mybots.py", bot("told['mode'] = shared.MODE", "import shared"))
        for name, own in (("a", {}), ("b", {"TOKEN": "x"}), ("c", {"SHARED_MODE": "fast"})):
            env = dict(fleet.spec(name).env) | own
            fleet.start(fleet.entry(name, "mybots:main", preload=("shared",), env=env))
            await fleet.becomes("ready", name)

        assert [told(fleet, name)["mode"] for name in "abc"] == [None, None, "fast"]
        assert [how(fleet, name)[:9] for name in "abc"] == ["outrider:"] * 3
        assert len(fleet.zygotes()) == 2

    run(test)  # type: ignore[arg-type]


def test_a_start_that_is_called_off_leaves_nothing(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        process = fleet.supervisor.add(fleet.entry("a", "mybots:main"))
        process.start()
        await process.stop("never mind")
        assert (process.state, process.pid) == ("stopped", None)
        process.start()
        await fleet.becomes("ready", "a")

    run(test)  # type: ignore[arg-type]


def test_a_folder_that_is_gone_is_named(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        policy = RestartPolicy(backoff_s=(0.0,), most=1)
        fleet.start(fleet.entry("a", "m:f", cwd=str(fleet.folder / "absent"), restart=policy))
        await fleet.becomes("failed", "a")

        assert f"No such file or directory ({fleet.folder}/absent)" in fleet.reason("a")

    run(test)  # type: ignore[arg-type]


def test_a_spare_that_was_killed_is_noticed_and_the_bot_spawned(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main"))
        await fleet.becomes("ready", "a")
        (family,) = fleet.launcher._families.values()
        (zygote,) = family.zygotes
        await fleet.until(lambda: zygote._spares)
        waiting: spare.Spare = zygote._spares[0]
        end(waiting.pid)
        await fleet.until(lambda: gone(waiting.pid))
        fleet.start(fleet.entry("b", "mybots:main"))
        await fleet.becomes("ready", "b")

        assert "a fork does not take its order" in fleet.reason("b")

    run(test)  # type: ignore[arg-type]


def test_a_system_without_pids_is_a_clear_refusal(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main"))
        await fleet.becomes("ready", "a")
        (family,) = fleet.launcher._families.values()
        (zygote,) = family.zygotes
        await fleet.until(lambda: zygote._spares)
        await zygote._spares.popleft().discard()
        zygote._ask_for_waiting = lambda: zygote._on_fork_packet({"failed": 11}, [])  # type: ignore[method-assign]
        policy = RestartPolicy(backoff_s=(0.0,), most=0)
        fleet.start(fleet.entry("b", "mybots:main", restart=policy))
        await fleet.becomes("failed", "b")

        assert "can't be started: Resource temporarily unavailable" in fleet.reason("b")
        assert fleet.state("a") == "ready"

    run(test)  # type: ignore[arg-type]


def test_an_import_that_never_ends_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "IMPORT_WITHIN_S", 4.0)

    async def test(fleet: Forking) -> None:
        fleet.write("odd.py", "import time; time.sleep(600)")
        fleet.write("mybots.py", bot())
        fleet.start(fleet.entry("a", "mybots:main", preload=("odd",)))
        await fleet.becomes("ready", "a")

        assert "importing odd takes more than 4 s" in fleet.reason("a")

    run(test)  # type: ignore[arg-type]


def test_the_process_adopts_orphans_only_while_it_forks(run: Run) -> None:
    before = launcher._is_subreaper()

    async def test(fleet: Forking) -> None:
        fleet.write("mybots.py", bot())
        fleet.launcher.expect([fleet.entry("a", "mybots:main")])
        await fleet.until(fleet.zygotes)
        assert launcher._is_subreaper() == 1

    run(test)  # type: ignore[arg-type]
    assert launcher._is_subreaper() == before


def test_expected_bots_share_one_zygote(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("one.py", bot(more="import wave"))
        fleet.write("two.py", bot("told['loaded'] = 'wave' in sys.modules"))
        specs = [fleet.entry("a", "one:main"), fleet.entry("b", "two:main")]
        fleet.launcher.expect(specs)
        fleet.start(*specs)
        await fleet.becomes("ready", "a", "b")

        assert len(fleet.zygotes()) == 1
        assert told(fleet, "b") == {"loaded": True}

    run(test)  # type: ignore[arg-type]


def test_a_linked_folder_that_points_elsewhere_now_is_a_change(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        for release in ("first", "second"):
            fleet.write(f"{release}/mybots.py", bot(f"told['release'] = {release!r}"))
        current = fleet.folder / "current"
        current.symlink_to("first")
        fleet.start(fleet.entry("a", "mybots:main", cwd=str(current)))
        await fleet.becomes("ready", "a")
        current.unlink()
        current.symlink_to("second")
        await fleet.supervisor.processes["a"].restart("deployed")
        await fleet.becomes("ready", "a")

        assert told(fleet, "a") == {"release": "second"}

    run(test)  # type: ignore[arg-type]


def test_what_a_bot_imports_late_is_in_the_next_zygote(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "SETTLE_S", 0.01)
    late = "told['had'] = 'wave' in sys.modules; __import__('wave'); __import__('beside')"

    async def test(fleet: Forking) -> None:
        fleet.write("beside.py", "raise_if_preloaded = __import__('sys').argv[1]")
        fleet.write("mybots.py", bot(late))
        fleet.start(fleet.entry("a", "mybots:main"))
        await fleet.becomes("ready", "a")
        assert told(fleet, "a") == {"had": False}
        (before,) = fleet.zygotes()
        await fleet.until(lambda: len(now := fleet.zygotes()) == 1 and now != [before])

        (family,) = fleet.launcher._families.values()
        assert family.learned["mybots:main"] == ["wave"]  # its own module is not among them
        await fleet.supervisor.processes["a"].restart("to see")
        await fleet.becomes("ready", "a")
        assert told(fleet, "a") == {"had": True}

    run(test)  # type: ignore[arg-type]


def test_memory_that_forks_share_does_not_count_as_the_bots_own(run: Run) -> None:
    async def test(fleet: Forking) -> None:
        fleet.write("shared.py", "BALLAST = b'x' * (300 << 20)")
        fleet.write("mybots.py", bot(more="import shared"))
        limit = 250 << 20
        specs = [
            fleet.entry(name, "mybots:main", preload=("shared",), memory_limit_bytes=limit)
            for name in ("a", "b")
        ]
        fleet.launcher.expect(specs)
        fleet.start(*specs)
        await fleet.becomes("ready", "a", "b")
        pid = fleet.pid("a")
        assert psutil.Process(pid).memory_info().rss > limit
        process = fleet.supervisor.processes["a"]
        fleet.supervisor.care._look_after(process, time.monotonic())
        assert (fleet.pid("a"), process.restarts, process.state) == (pid, 0, "ready")

        process.limit_memory(8 << 20)
        fleet.supervisor.care._look_after(process, time.monotonic())
        await fleet.until(lambda: process.restarts == 1)

    run(test)  # type: ignore[arg-type]
