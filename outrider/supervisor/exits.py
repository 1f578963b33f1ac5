"""Tells when a process ends and how, without polling: its pidfd becomes readable.

Of a child the kernel hands over the status when it is collected. A process that was adopted from a
supervisor that died is a child of somebody else; since Linux 6.15 the kernel tells the status of
those too, to whoever holds a pidfd, once the parent has collected it. Before, it can't be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct

# Of linux/pidfd.h, where Python has no names. The structure's first version has 64 bytes.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
_INFO_BYTES, _EXIT_CODE_AT = 64, 60
# How long a parent that is not us is given to collect its child.
_COLLECTED_AFTER_S = (0.0, 0.002, 0.01, 0.05, 0.2)


async def ended(pidfd: int) -> int | None:
    """Wait for the end of a process. Return its exit code (negative: signal), None if unknown."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
    try:
        return _collected(pidfd)
    except ChildProcessError:
        for wait_s in _COLLECTED_AFTER_S:
            await asyncio.sleep(wait_s)
            code = _told(pidfd)
            if code is not None:
                return code
        return None


def _collected(pidfd: int) -> int:
    """Collect our own child. Raises ChildProcessError when it is not ours."""
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert found is not None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _told(pidfd: int) -> int | None:
    """Ask the kernel how a process ended that is not our child."""
    info = bytearray(_INFO_BYTES)
    struct.pack_into("Q", info, 0, _PIDFD_INFO_EXIT)
    with contextlib.suppress(OSError):
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
        if struct.unpack_from("Q", info, 0)[0] & _PIDFD_INFO_EXIT:
            return os.waitstatus_to_exitcode(struct.unpack_from("i", info, _EXIT_CODE_AT)[0])
    return None
