"""Ends a server of the tests together with the tests, then becomes its program.

Run as ``python -I -S leash.py PARENT program argument ...``: asks the kernel for SIGTERM at the
parent's death, then execs. A preexec_fn would do the same but is unsafe beside threads and keeps
subprocess from its fast path; this costs some 15 ms of CPU once a start. Linux only: elsewhere
the program runs without a leash (untested).

The signal is tied to the parent's *thread* that forked, so processes are started from the main one.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Take the leash and exec. Never returns on success."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            raise SystemExit(1)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.stderr.write(f"{program[0]} can't be started: {error.strerror}\n")
        raise SystemExit(127) from None


if __name__ == "__main__":
    main(sys.argv[1:])
