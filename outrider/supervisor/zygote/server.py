"""The zygote's own life: import, freeze, and fork spares until its supervisor is gone."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import setproctitle

from outrider.supervisor.zygote import child, preload, reads, wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from outrider.supervisor.zygote.wire import Message

# A packet holds some 200 KiB, and a path with its stamp a tenth of one.
_FILES_A_PACKET = 200
_ORPHANED_EVERY_S = 0.0002


def serve(control: socket.socket) -> tuple[Message, socket.socket]:
    """Serve one supervisor. Return only in a spare that is to become a bot.

    It gets its order, and the socket that the order came by.
    """
    received = wire.receive(control)
    if received is None:
        _leave()
    inherited = child.Inherited.taken()
    if not _prepare(control, received[0]):
        _leave()
    child.clean(inherited)
    setproctitle.setproctitle(f"outrider: zygote ({Path.cwd()})")
    gc.collect()
    gc.disable()  # whatever becomes garbage now would be touched, and so copied, by every fork
    gc.freeze()
    wire.send(control, {"ready": os.getpid()})
    while received := wire.receive(control):
        if running := preload.threads():
            wire.send(control, {"refused": f"the zygote runs {running}"})
            continue
        try:
            midwife = os.fork()
        except OSError as error:
            wire.send(control, {"failed": error.errno})
            continue
        if midwife == 0:
            return _deliver(control, int(received[0]["spares"]), touch=received[0]["touch"])
        os.waitpid(midwife, 0)
    return _leave()


def _prepare(control: socket.socket, plan: Message) -> bool:
    """Import what the plan's entries want, and report; False when this process is unfit."""
    folder = Path.cwd()
    if sys.path[0] != str(folder):  # with PYTHONSAFEPATH
        sys.path.insert(0, str(folder))
    wants: dict[str, list[str]] = {}
    modules: dict[str, set[str]] = {name: set() for name in preload.ALWAYS}
    sources: set[str] = set()
    for entry, declared in plan["entries"].items():
        found = preload.wanted(entry.partition(":")[0], folder)
        sources |= found.sources
        wants[entry] = [*found.modules, *declared]
        for module, names in found.modules.items():
            modules.setdefault(module, set()).update(names)
        for module in declared:
            modules.setdefault(module, set())
    for module in plan["learned"]:
        modules.setdefault(module, set())
    for module in plan["without"]:
        modules.pop(module, None)
    started_ns = time.time_ns()
    try:
        with reads.recorded() as read, child.noted():
            failed = preload.load(
                modules, on_import=lambda name: wire.send(control, {"importing": name})
            )
    except preload.Unfit as unfit:
        wire.send(control, {"unfit": unfit.module, "why": unfit.why})
        return False
    sources |= preload.origins(failed)
    stamps = preload.files() | {path: preload.stamped(path) for path in sources}
    for some in _parts(sorted(stamps)):
        wire.send(control, {"files": {path: stamps[path] for path in some}})
    report = {"wants": wants, "read": sorted(read), "started_ns": started_ns}
    wire.send(control, {"report": report, "failed": failed})
    return True


def _deliver(control: socket.socket, count: int, *, touch: bool) -> tuple[Message, socket.socket]:
    """Be a midwife: fork spares and end. Return in a spare, when it is given an order."""
    mine = os.getpid()
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError as error:
            wire.send(control, {"failed": error.errno})
            break
        if pid == 0:
            return _wait(control, mine, touch=touch)
    return _leave()


def _wait(control: socket.socket, midwife: int, *, touch: bool) -> tuple[Message, socket.socket]:
    """Be a spare: say so as soon as the supervisor is the parent, and wait for one order."""
    child.prepare(touch=touch)
    here, there = wire.pair()
    while os.getppid() == midwife:
        time.sleep(_ORPHANED_EVERY_S)
    pidfd = os.pidfd_open(os.getpid())
    try:
        wire.send(control, {"spare": os.getpid()}, (pidfd, there.fileno()))
    except OSError:  # the supervisor is gone, or has replaced its zygote
        _leave()
    os.close(pidfd)
    there.close()
    control.close()
    received = wire.receive(here)
    if received is None:
        _leave()
    order, (output,) = received
    return order | {"output": output}, here


def _parts(paths: list[str]) -> Iterable[list[str]]:
    return (paths[at : at + _FILES_A_PACKET] for at in range(0, len(paths), _FILES_A_PACKET))


def _leave() -> NoReturn:
    """End at once: hooks and destructors belong to the bots, and this process was none."""
    os._exit(0)
