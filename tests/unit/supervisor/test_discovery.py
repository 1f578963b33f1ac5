"""Foreign processes: found by three ways, measured, and never touched."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outrider.settings import Foreign, Settings
from outrider.supervisor import care, discovery
from outrider.supervisor import spec as specs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.supervisor.fleets import Fleet, Run


@pytest.fixture
def stranger() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A process that somebody else started, and what stands on its command line."""
    token = f"stranger-{uuid.uuid4().hex}"
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", token]) as process:
        yield token, process
        process.kill()


def spec(**ways: Any) -> specs.ProcessSpec:
    settings = Settings.model_validate({"bots": {"theirs": {"foreign": ways}}})
    (found,) = specs.of_bot("theirs", settings, base=Path("/"), env_of=lambda _: {})
    return found


def test_it_is_found_by_pid_file_pattern_and_control_group(
    stranger: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    token, process = stranger
    pid_file = tmp_path / "x.pid"
    pid_file.write_text(f"{process.pid}\n")
    groups = [line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()]

    assert discovery.find(Foreign(pid_file=pid_file)) == (process.pid, "")
    assert discovery.find(Foreign(pattern=token))[0] == process.pid
    named = [group for group in groups if len(group) > 1]
    if named:  # whichever the test runs in holds it too
        assert discovery.find(Foreign(cgroup=named[0]))[0] is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "holds no pid"), ("x", "holds no pid"), ("4194303", "which does not run")],
)
def test_a_pid_file_without_a_process_says_so(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.pid").write_text(content)
    pid, why = discovery.find(Foreign(pid_file=tmp_path / "x.pid"))

    assert pid is None
    assert words in why


def test_what_is_nowhere_is_said_to_be(tmp_path: Path) -> None:
    for foreign in (
        Foreign(pid_file=tmp_path / "none"), Foreign(cgroup="/no/such/group"),
        Foreign(pattern="no-such-" + uuid.uuid4().hex),
    ):  # fmt: skip
        pid, why = discovery.find(foreign)
        assert (pid, bool(why)) == (None, True)


def test_it_is_listed_and_every_order_to_it_is_refused(
    run: Run, stranger: tuple[str, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "LOOK_S", 0.02)
    monkeypatch.setattr(care, "FOREIGN_S", 0.02)
    token, process = stranger

    async def test(fleet: Fleet) -> None:
        fleet.supervisor.declare([spec(pattern=token), fleet.spec("ours")])
        listed = (await fleet.order("snapshot"))["result"]["processes"]
        (theirs,) = [entry for entry in listed if entry["name"] == "theirs"]
        assert (theirs["state"], theirs["pid"], theirs["foreign"]) == ("ready", process.pid, True)
        for do in ("start", "stop", "restart", "limit", "scale"):
            answer = await fleet.order(do, bot="theirs", instances=2)
            assert (answer["ok"], answer["type"]) == (False, "BadArgument")
            assert "theirs is foreign: it is measured here and never touched" in answer["error"]
        assert (await fleet.order("stop", bot="all"))["ok"]  # leaves it out
        assert process.poll() is None

        process.kill()
        await asyncio.to_thread(process.wait)
        await fleet.until(lambda: fleet.supervisor.foreign["theirs"].state == "stopped")
        assert fleet.supervisor.foreign["theirs"].reason == f"no command line matches {token}"

    run(test)


@pytest.mark.parametrize(
    ("bot", "words"),
    [
        ({"foreign": {}}, "give one of pid_file, pattern and cgroup"),
        ({"foreign": {"pattern": "abc", "cgroup": "/x"}}, "give one of pid_file"),
        ({"foreign": {"pattern": "(abc"}}, "no regular expression"),
        ({"foreign": {"pattern": "abc"}, "command": ["x"]}, "give either entry"),
        ({"command": ["x"], "readiness": "probe"}, "needs a probe"),
        ({"command": ["x"], "probe": {}}, "give either http"),
        ({"command": ["x"], "limits": {"memory": "9MiB", "memory_soft": "9MiB"}}, "less than"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bot: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        Settings.model_validate({"bots": {"theirs": bot}})


def test_it_is_never_ourselves() -> None:
    assert os.getpid() not in discovery._others()
