"""Starts bots as forks of the zygote of their environment, and everything else as it always was.

An *environment* is an interpreter, a working folder, and the variables that interpreters and
loaders read before any Python code. Within one, all bots share a zygote that has imported what any
of them wants; another is booted for a bot whose variables differ in what an import has read.

No start fails for want of a zygote: it waits for one that boots, which takes as long as a plain
start would, and is spawned when there can be none. The reason is in ``Launched.why``, and a
preload's traceback in the bot's own log.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from outrider.supervisor.launch import Launched, check_folder
from outrider.supervisor.spec import environment
from outrider.supervisor.zygote.handle import Zygote
from outrider.supervisor.zygote.spare import Unfit, Unforkable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Mapping
    from typing import Any

    from outrider.supervisor.launch import SpawnLauncher
    from outrider.supervisor.spec import ProcessSpec

LOG = "zygote"
# After a change on disk the rest of an upgrade or a checkout follows. A start does not wait for it.
SETTLE_S = 0.5
# One that can't be booted is not tried again at every start of a bot that keeps crashing.
BROKEN_FOR_S = 60.0
# Bots with so many different environments share too little to save any memory.
MOST_IN_A_FAMILY = 4
_MOST_UNFIT = 8
_MOST_LEARNED_BYTES = 1 << 20
_MOST_BOOTS = 2 * MOST_IN_A_FAMILY
_PREFIXES = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "OMP_", "OPENBLAS_", "MKL_")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


@dataclass(slots=True, eq=False)
class _Family:
    """The zygotes of one environment."""

    folder: str
    entries: dict[str, list[str]] = field(default_factory=dict)
    zygotes: list[Zygote] = field(default_factory=list)
    learned: dict[str, list[str]] = field(default_factory=dict)  # by entry: what it imported late
    learning: set[str] = field(default_factory=set)
    unfit: dict[str, str] = field(default_factory=dict)
    booting: asyncio.Task[None] | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    broken: str = ""
    broken_until_s: float = 0.0


class ZygoteLauncher:
    """Forks what has an ``entry`` and leaves the rest to ``fallback``. Lives in one event loop.

    ``open_log()`` returns a descriptor for what a zygote writes; it is closed here.
    """

    def __init__(self, fallback: SpawnLauncher, *, open_log: Callable[[], int]) -> None:
        self._fallback = fallback
        self._open_log = open_log
        self._families: dict[tuple[Any, ...], _Family] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._was_subreaper = _is_subreaper()

    def expect(self, specs: Iterable[ProcessSpec]) -> None:
        """Boot zygotes for what will be started: one for all of a folder, not one after another."""
        for spec in specs:
            if spec.entry:
                family, env = self._family(spec)
                self._note(family, spec)
                if family.booting is None:
                    family.booting = self._keep(self._boot(family, env))

    async def launch(self, spec: ProcessSpec, *, output: int) -> Launched:
        """Start one process; see ``launch.Launcher``."""
        if not spec.entry:
            return await self._fallback.launch(spec, output=output)
        check_folder(spec.cwd or ".")
        try:
            return await self._forked(spec, output)
        except Unforkable as reason:
            if reason.detail:
                os.write(output, f"{reason}\n{reason.detail}\n".encode())
            launched = await self._fallback.launch(spec, output=output)
            return replace(launched, why=f"started without a zygote: {reason}")

    async def close(self) -> None:
        """End all zygotes; the bots that were forked live on."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        zygotes = [zygote for family in self._families.values() for zygote in family.zygotes]
        self._families.clear()
        await asyncio.gather(*(zygote.close() for zygote in zygotes))
        _be_subreaper(self._was_subreaper)

    async def _forked(self, spec: ProcessSpec, output: int) -> Launched:
        assert spec.entry
        family, env = self._family(spec)
        self._note(family, spec)
        zygote = await self._zygote(family, spec.entry, env)
        if reason := _obstacle(family, zygote, spec.entry):
            if (
                time.monotonic() > zygote.booted_s + BROKEN_FOR_S
            ):  # it may have been installed since
                family.unfit.clear()
                self._on_end(family, zygote)
            raise reason
        spare = await zygote.spare()
        learn = spec.entry not in family.learned.keys() | family.learning
        order = {
            "env": env, "cwd": spec.cwd or "", "entry": spec.entry, "name": spec.name,
            "learn": learn,
        }  # fmt: skip
        try:
            spare.become(order, output)
        except OSError as error:
            self._keep(spare.discard())
            raise Unforkable(f"a fork does not take its order ({error.strerror})") from None
        if learn:
            family.learning.add(spec.entry)
            self._keep(self._learn(family, spec.entry, env, spare.socket))
        return Launched(spare.pid, spare.pidfd, "zygote")

    async def _learn(
        self, family: _Family, entry: str, env: Mapping[str, str], source: socket.socket
    ) -> None:
        """Hear from a bot that is ready what it imported late; the next zygote imports it too."""
        try:
            with source:
                source.setblocking(False)
                message = await asyncio.get_running_loop().sock_recv(source, _MOST_LEARNED_BYTES)
        finally:
            family.learning.discard(entry)
        if not message:  # it ended, or said nothing
            return
        family.learned[entry] = json.loads(message)["imported"]
        if family.learned[entry] and family.booting is None:
            family.booting = self._keep(self._boot(family, env, SETTLE_S))

    async def _zygote(self, family: _Family, entry: str, env: Mapping[str, str]) -> Zygote:
        """Return a zygote with fresh code that fits; boot one if there is none."""
        for _ in range(_MOST_BOOTS):
            for zygote in list(family.zygotes):
                zygote.look()
            for zygote in family.zygotes:
                if entry in zygote.wants and zygote.fits(env):
                    return zygote
            if family.broken and time.monotonic() < family.broken_until_s:
                raise Unforkable(family.broken)
            if family.booting is None:
                family.booting = self._keep(self._boot(family, env))
            family.hurry.set()
            await asyncio.shield(family.booting)
            if self._closed:
                break
        raise Unforkable("no zygote keeps up with the changes on disk")

    async def _boot(self, family: _Family, env: Mapping[str, str], after_s: float = 0.0) -> None:
        """Boot one for an environment; it takes the place of those that it makes needless."""
        try:
            family.hurry.clear()
            await asyncio.sleep(0)  # lets all that are expected be noted
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(family.hurry.wait(), after_s)
            zygote = await self._booted(family, env)
        except (Unforkable, OSError) as error:
            family.broken = str(error)
            family.broken_until_s = time.monotonic() + BROKEN_FOR_S
            return
        finally:
            family.booting = None
        family.broken = ""
        replaced = [other for other in family.zygotes if zygote.fits(other.env)]
        family.zygotes = [other for other in family.zygotes if other not in replaced]
        if len(family.zygotes) >= MOST_IN_A_FAMILY:
            replaced.append(family.zygotes.pop(0))
        family.zygotes.append(zygote)
        await asyncio.gather(*(other.close() for other in replaced))

    async def _booted(self, family: _Family, env: Mapping[str, str]) -> Zygote:
        _be_subreaper(1)
        output = self._open_log()
        try:
            for _ in range(_MOST_UNFIT):
                try:
                    zygote = await Zygote.boot(
                        env,
                        family.folder,
                        family.entries,
                        learned=sorted(set().union(*family.learned.values())),
                        without=list(family.unfit),
                        output=output,
                        on_end=lambda zygote: self._on_end(family, zygote),
                    )
                except Unfit as unfit:
                    family.unfit[unfit.module] = str(unfit)
                    continue
                if not zygote.stale:
                    return zygote
                await zygote.close()
                await asyncio.sleep(SETTLE_S)
            raise Unforkable("; ".join(family.unfit.values()) or "its code changes all the time")
        finally:
            os.close(output)

    def _on_end(self, family: _Family, zygote: Zygote) -> None:
        """Replace a zygote whose code is old, or that ended: in the background, and soon."""
        if zygote in family.zygotes:
            family.zygotes.remove(zygote)
        self._keep(zygote.close())
        if zygote.stale:
            family.unfit.clear()
        if family.booting is None and not self._closed:
            family.booting = self._keep(self._boot(family, zygote.env, SETTLE_S))

    def _family(self, spec: ProcessSpec) -> tuple[_Family, dict[str, str]]:
        env = dict.fromkeys(_ONE_THREAD, "1") | environment(spec)
        folder = os.path.abspath(spec.cwd or ".")  # noqa: PTH100
        early = tuple(sorted((k, v) for k, v in env.items() if k.startswith(_PREFIXES)))
        key = (sys.executable, folder, early)
        return self._families.setdefault(key, _Family(folder)), env

    @staticmethod
    def _note(family: _Family, spec: ProcessSpec) -> None:
        assert spec.entry
        known = family.entries.setdefault(spec.entry, [])
        known += [module for module in spec.preload if module not in known]

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _obstacle(family: _Family, zygote: Zygote, entry: str) -> Unforkable | None:
    """Return why an entry is not forked though there is a zygote: a module that it imports."""
    for module in zygote.wants[entry]:
        if why := family.unfit.get(module):
            return Unforkable(why)
        if text := zygote.failed.get(module):
            last = text.strip().rpartition("\n")[2]
            return Unforkable(f"preloading {module} failed: {last}", text)
    return None


def _be_subreaper(answer: int) -> None:
    """Be the parent of what a midwife leaves behind: only a parent learns how a process ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, answer, 0, 0, 0)


def _is_subreaper() -> int:
    answer = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return answer.value
