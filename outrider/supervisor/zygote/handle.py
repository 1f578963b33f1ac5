"""The supervisor's end of one zygote: its boot, its spares, and whether its code is still true."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from outrider.supervisor import launch
from outrider.supervisor.zygote import preload, wire
from outrider.supervisor.zygote.reads import ALL
from outrider.supervisor.zygote.spare import Spare, Unfit, Unforkable, end, sweep
from outrider.supervisor.zygote.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from outrider.supervisor.zygote.wire import Message

# Longer than any import should take; one that waits for a network may take for ever.
IMPORT_WITHIN_S = 30.0
SPARE_WITHIN_S = 10.0
# The next spare is made when the bot that took the last one has had the processor to itself.
REFILL_AFTER_S = 0.05
# Many at once share a midwife, few enough that the first need not wait for the last.
SPARES_A_MIDWIFE = 5
_CONTROL = 3
# Ours are of one bot each, and set when a spare becomes it.
_OWN_PREFIX = "OUTRIDER_"


class Zygote:
    """One zygote that booted. Make it with :meth:`boot`."""

    def __init__(
        self, env: Mapping[str, str], folder: str, control: socket.socket, pid: int
    ) -> None:
        self.env = env
        self.stale = False
        self.booted_s = 0.0
        self._folder = folder
        self._real_folder = os.path.realpath(folder)
        self.wants: dict[str, list[str]] = {}
        self.failed: dict[str, str] = {}
        self._read: set[str] = set()
        self._stamps: dict[str, preload.Stamp] = {}
        self._started_ns = 0
        self._control = control
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._importing = ""
        self._patience: asyncio.Timeout | None = None
        self._ready = asyncio.get_running_loop().create_future()
        self._spares: deque[Spare] = deque()
        self._waiting: deque[asyncio.Future[Spare]] = deque()
        self._asked = 0
        self._refill: asyncio.TimerHandle | None = None
        self._watch: Watch | None = None
        self._on_end: Callable[[Zygote], None] = lambda _: None

    @classmethod
    async def boot(
        cls,
        env: Mapping[str, str],
        folder: str,
        entries: Mapping[str, list[str]],
        *,
        learned: list[str],
        without: list[str],
        output: int,
        on_end: Callable[[Zygote], None],
    ) -> Zygote:
        """Start one in a folder for ``{entry: declared modules}``; return it when it can fork.

        It imports ``learned`` modules too, if it can, and none of those in ``without``.
        ``on_end`` is called when it ended by itself, or when its code on disk has changed.

        Raises:
            Unfit: a module can't be preloaded; it is named.
            Unforkable: it does not boot.
            OSError: the system starts no process.
        """
        control, theirs = wire.pair()
        with theirs:
            ours = {name: value for name, value in env.items() if not _is_own(name)}
            command = (sys.executable, "-m", "outrider.supervisor.zygote")
            kept = {_CONTROL: theirs.fileno()}
            pid = launch.spawn(command, ours, cwd=folder, output=output, kept=kept)
        control.setblocking(False)
        zygote = cls(env, folder, control, pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(control, zygote._on_packet)
        wire.send(control, {"entries": entries, "learned": learned, "without": without})
        try:
            async with asyncio.timeout(IMPORT_WITHIN_S) as zygote._patience:
                await zygote._ready
        except BaseException as error:
            await zygote.close()
            if isinstance(error, TimeoutError):
                doing = zygote._importing
                why = f"importing {doing} takes more than {IMPORT_WITHIN_S:.0f} s"
                raise (Unfit(doing, why) if doing else Unforkable("its zygote hangs")) from None
            raise
        zygote.booted_s = time.monotonic()
        zygote._watch = Watch(zygote._stamps, zygote._on_change)
        zygote._on_end = on_end
        zygote.stale = zygote._is_older_than_its_code() or zygote.changed()
        zygote._ask(1)
        return zygote

    def fits(self, env: Mapping[str, str]) -> bool:
        """Tell whether all that was read of the environment is the same in another one."""
        names = {*self.env, *env} if ALL in self._read else self._read
        return all(self.env.get(name) == env.get(name) for name in names if not _is_own(name))

    def changed(self) -> bool:
        """Look whether code that it imported, or found its imports in, has changed on disk."""
        return os.path.realpath(self._folder) != self._real_folder or any(
            preload.stamped(path) != stamp for path, stamp in self._stamps.items()
        )

    def _is_older_than_its_code(self) -> bool:
        """Tell whether a file may have been read before its last change, while it booted."""
        now_ns = time.time_ns()
        return any(self._started_ns <= stamp[0] <= now_ns for stamp in self._stamps.values())

    def look(self) -> None:
        """Notice a change of its code now, before it is used. Costs microseconds when watching."""
        moved = os.path.realpath(self._folder) != self._real_folder  # a link to the newest release
        if moved or self._watch is None or self._watch.blind:
            self._on_change()
        else:
            self._watch.look()

    async def spare(self) -> Spare:
        """Return a forked process; wait for it when none is in stock.

        Raises:
            Unforkable: this zygote can't fork, or is no more.
            OSError: the system forks nothing.
        """
        if self._spares:
            spare = self._spares.popleft()
            self._refill_later()
            return spare
        future: asyncio.Future[Spare] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        # One tick later all that are started together have asked.
        asyncio.get_running_loop().call_soon(self._ask_for_waiting)
        try:
            async with asyncio.timeout(SPARE_WITHIN_S):
                return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self._spares.append(future.result())
            raise
        except TimeoutError:
            self._on_end(self)
            raise Unforkable(f"its zygote does not fork within {SPARE_WITHIN_S:.0f} s") from None

    async def close(self) -> None:
        """End it and its spares; bots that were forked from it live on."""
        self._on_end = lambda _: None
        self._stop("its zygote was replaced")
        spares, self._spares = list(self._spares), deque()
        pidfd, self._pidfd = self._pidfd, -1
        await asyncio.gather(*(spare.discard() for spare in spares))
        if pidfd >= 0:
            await end(pidfd)
            await sweep(self.pid)

    def _stop(self, why: str) -> None:
        if self._watch:
            self._watch.close()
        if self._refill:
            self._refill.cancel()
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        if not self._ready.done():
            self._ready.cancel()
        self._refuse(Unforkable(why))

    def _on_change(self) -> None:
        if not self.stale and self.changed():
            self.stale = True
            self._on_end(self)

    def _ask_for_waiting(self) -> None:
        missing = len(self._waiting) - self._asked
        while missing > 0 and self._control.fileno() >= 0:
            some = min(missing, SPARES_A_MIDWIFE)
            self._ask(some)
            missing -= some

    def _ask(self, spares: int) -> None:
        self._asked += spares
        with contextlib.suppress(OSError):  # its end is noticed elsewhere
            wire.send(self._control, {"spares": spares, "touch": not self._waiting})

    def _refill_later(self) -> None:
        if self._refill:
            self._refill.cancel()
        self._refill = asyncio.get_running_loop().call_later(REFILL_AFTER_S, self._fill)

    def _fill(self) -> None:
        if not self._spares and not self._asked and self._control.fileno() >= 0:
            self._ask(1)

    def _on_packet(self) -> None:
        try:
            received = wire.receive(self._control)
        except BlockingIOError:
            return
        if received is None:
            self._on_gone()
            return
        message, descriptors = received
        if self._ready.done():
            self._on_fork_packet(message, descriptors)
        else:
            self._on_boot_packet(message)

    def _on_boot_packet(self, message: Message) -> None:
        match message:
            case {"importing": module}:
                self._importing = module
                if self._patience:
                    now_s = asyncio.get_running_loop().time()
                    self._patience.reschedule(now_s + IMPORT_WITHIN_S)
            case {"files": stamps}:
                self._stamps |= {path: tuple(stamp) for path, stamp in stamps.items() if stamp}
            case {"report": report, "failed": failed}:
                self.wants, self.failed = report["wants"], failed
                self._read, self._started_ns = set(report["read"]), report["started_ns"]
            case {"unfit": module, "why": why}:
                self._fail(Unfit(module, why))
            case {"ready": _}:
                self._ready.set_result(None)

    def _on_fork_packet(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case {"spare": pid}:
                pidfd, descriptor = descriptors
                self._on_spare(Spare(pid, pidfd, socket.socket(fileno=descriptor)))
            case {"refused": why}:
                self._refuse(Unforkable(why))
                self._on_end(self)
            case {"failed": int(number)}:
                self._refuse(OSError(number, os.strerror(number)))

    def _on_spare(self, spare: Spare) -> None:
        self._asked = max(0, self._asked - 1)
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(spare)
                if not self._waiting:
                    self._refill_later()
                return
        self._spares.append(spare)

    def _on_gone(self) -> None:
        """Treat the end of a zygote that nobody asked to end."""
        doing = self._importing
        booted = self._ready.done()
        words = f"importing {doing} ends the process" if doing else "its zygote does not start"
        self._fail(Unfit(doing, words) if doing else Unforkable(words))
        self._stop("its zygote ended")
        if booted:
            self._on_end(self)

    def _fail(self, error: Unforkable) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)

    def _refuse(self, error: Exception) -> None:
        self._asked = 0
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)


def _is_own(name: str) -> bool:
    return name.startswith(_OWN_PREFIX)
