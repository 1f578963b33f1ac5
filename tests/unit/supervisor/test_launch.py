from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from outrider.supervisor import launch
from outrider.supervisor.launch import SpawnLauncher
from outrider.supervisor.spec import ProcessSpec
from tests.unit.supervisor.fleets import python

if TYPE_CHECKING:
    from pathlib import Path

FACTS = python(
    """
    import os, signal
    print(os.getcwd(), os.environ["OWN"], os.getsid(0) == os.getpid(),
          signal.getsignal(signal.SIGINT) is signal.default_int_handler,
          sorted(map(int, os.listdir("/proc/self/fd")))[:3])
    """
)


def launched(spec: ProcessSpec, log: Path) -> tuple[str, int]:
    """Return what a process wrote, and its exit code."""
    # A shell has what it runs in the background ignore it, and a supervisor handles it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("wb") as output:
            process = asyncio.run(SpawnLauncher().launch(spec, output=output.fileno()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.how, process.why) == ("spawn", "")
    ended = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED)
    os.close(process.pidfd)
    assert ended is not None
    assert ended.si_pid == process.pid
    return log.read_text(), ended.si_status


def test_a_program_runs_in_its_folder_and_session_with_its_environment(tmp_path: Path) -> None:
    spec = ProcessSpec("a", FACTS, cwd=str(tmp_path), env={"OWN": "x"})

    assert launched(spec, tmp_path / "log") == (f"{tmp_path} x True True [0, 1, 2]\n", 0)


def test_descriptors_that_we_were_started_with_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_strays", launch._strays.__wrapped__)
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        code = f"import os; print(os.path.exists('/proc/self/fd/{file.fileno()}'))"
        spec = ProcessSpec("a", python(code))
        assert launched(spec, tmp_path / "log") == ("False\n", 0)


def test_signals_that_python_ignores_have_their_defaults(tmp_path: Path) -> None:
    code = "trap 'echo heard' PIPE; kill -PIPE $$; exit 3"
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN

    with (tmp_path / "log").open("wb") as output:
        command = ("/bin/sh", "-c", code)
        pid = launch.spawn(command, dict(os.environ), cwd=None, output=output.fileno())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert (tmp_path / "log").read_text() == "heard\n"


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_a_folder_that_is_none_is_refused_and_named(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spec = ProcessSpec("a", ("true",), cwd=str(tmp_path / folder))
    with pytest.raises(FileNotFoundError) as refusal:
        asyncio.run(SpawnLauncher().launch(spec, output=1))
    assert refusal.value.filename == str(tmp_path / folder)
