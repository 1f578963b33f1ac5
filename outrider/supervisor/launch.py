"""How a process is born: the seam between who supervises and who starts.

A launcher gives back a descriptor of the process (a pidfd), so that whoever watches and signals it
can never mean another process that was given the same number.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from outrider.supervisor.spec import environment

if TYPE_CHECKING:
    from outrider.supervisor.spec import ProcessSpec


@dataclass(frozen=True, slots=True)
class Launched:
    """A process that was started; whoever receives it owns ``pidfd`` and closes it."""

    pid: int
    pidfd: int
    how: Literal["spawn", "zygote"]
    why: str = ""


class Launcher(Protocol):
    """Starts processes, each as the leader of a session of its own."""

    async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
        """Start one; ``output`` becomes its stdout and stderr. Raises OSError when it can't be."""
        ...

    async def close(self) -> None:
        """End what the launcher itself has running. Safe to repeat."""
        ...


class SpawnLauncher:
    """Starts any program, in any language, by fork and exec."""

    async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
        """Start a program. Blocks for a millisecond. Raises OSError when it can't be started."""
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
