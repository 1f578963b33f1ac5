"""Starts a process and hands over what its supervisor watches it by: a pid and a pidfd."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from outrider.supervisor.spec import environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.supervisor.spec import ProcessSpec

# posix_spawn can't change the working folder; a shell does it in a millisecond, and execs.
_IN_FOLDER = ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"')
# Python ignores these; a program expects their defaults, as it has in a terminal.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that runs. It is a child of this process, which alone can wait for it."""

    pid: int
    pidfd: int  # owned by the receiver
    how: Literal["spawn", "zygote"]
    why: str = ""  # why it was spawned though it could have been forked (names the thread, ...)


class Launcher(Protocol):
    """Starts processes. A start that is cancelled has started nothing."""

    async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
        """Start one whose stdout and stderr is ``output``, in a session of its own.

        Raises:
            OSError: the system refuses: no such folder, no pids left.
        """
        ...

    async def close(self) -> None:
        """End what serves to start others; what was started lives on."""
        ...


class SpawnLauncher:
    """Starts any program, in any language, by fork and exec."""

    async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
        """Start a program. Blocks for a millisecond. Raises OSError when it can't be started."""
        if spec.cwd:
            check_folder(spec.cwd)
        process = subprocess.Popen(  # noqa: ASYNC220 - a millisecond
            spec.argv,
            cwd=spec.cwd,
            env=environment(spec),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        process.returncode = 0  # its end is collected through the pidfd, not by this object
        try:
            return Launched(process.pid, os.pidfd_open(process.pid), "spawn")
        except OSError:  # no descriptor is left: what can't be watched must not run
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)  # noqa: ASYNC222 - it was killed
            raise

    async def close(self) -> None:
        """Do nothing: only bots are running."""


def spawn(
    command: tuple[str, ...],
    env: Mapping[str, str],
    *,
    cwd: str | None,
    output: int,
    kept: Mapping[int, int] | None = None,
) -> int:
    """Start a program in a session of its own and return its pid.

    It reads nothing, and writes to ``output``; ``kept`` maps its other descriptors to ours.

    Raises:
        OSError: no such folder, no such program, no pids left.
    """
    if cwd:
        check_folder(cwd)
        command = (*_IN_FOLDER, cwd, *command)
    kept = kept or {}
    strays = _strays() - {output, *kept.values()}
    return os.posix_spawn(
        command[0],
        command,
        env,
        file_actions=[
            *((os.POSIX_SPAWN_CLOSE, stray) for stray in strays),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
            *((os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in kept.items()),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_DEFAULT_SIGNALS,
    )


@functools.cache
def _strays() -> set[int]:
    """Return descriptors that this process was started with, and its children must not have.

    What Python opens itself is closed by an exec.
    """
    strays = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own
            if int(path.name) > 2 and os.get_inheritable(int(path.name)):  # noqa: PLR2004 - stderr
                strays.add(int(path.name))
    return strays


def check_folder(folder: str) -> None:
    """Refuse a working folder that can't be entered. Raises OSError, which names it."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    if not os.access(folder, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)
