"""Carries out orders, and records of each who gave it, why, and what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from outrider import units
from outrider.channel import problems
from outrider.channel.envelopes import Name, Within  # noqa: TC001 - msgspec reads them
from outrider.errors import BadArgument, ChannelError, OutriderError, UnknownBot
from outrider.supervisor import audit, crashes, logs
from outrider.supervisor.discovery import Observed

if TYPE_CHECKING:
    from outrider.supervisor.audit import Peer
    from outrider.supervisor.process import Supervised
    from outrider.supervisor.supervisor import Supervisor

_MOST_INSTANCES = 1000
# Less than any Python needs: a limit below it would restart a bot for ever.
_LEAST_LIMIT_BYTES = 1 << 20
_ACTIONS = ("start", "stop", "restart", "scale", "limit")


class _Request(msgspec.Struct, kw_only=True):
    """A question to one instance of a bot, see ``outrider.channel.envelopes``."""

    name: Name
    instance: Name
    body: Any = None
    within_s: Within = 5.0
    idempotent: bool = False


class Orders:
    """Answers for one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._scaling = asyncio.Lock()

    async def handle(self, order: dict[str, Any], peer: Peer) -> Any:
        """Carry out one order. Raises an OutriderError to refuse it."""
        what, bot = order.get("do"), str(order.get("bot") or "")
        if what == "snapshot":
            return self._supervisor.snapshot(str(order.get("since") or ""))
        if what == "diagnose":
            return [self._diagnose(process) for process in self._named(bot)]
        if what == "request":
            return await self._request(order.get("requests"))
        if what not in _ACTIONS:
            self._named(bot)
            raise BadArgument(
                f"unknown order {what!r}; known: start, stop, restart, scale, limit, diagnose, "
                "snapshot, request."
            )
        who, why = str(order.get("who") or "somebody"), str(order.get("why") or "")
        try:
            done = await self._act(str(what), bot, order, who, why)
        except Exception as error:
            word = "refused" if isinstance(error, OutriderError) else "failed"
            self._record(str(what), bot, peer, who=who, why=why, result=f"{word}: {error}")
            raise
        self._record(str(what), bot, peer, who=who, why=why, result="done")
        return done

    def refused(self, peer: Peer) -> None:
        """Record somebody who may not give orders at all."""
        self._record(
            "connect", "", peer,
            who=str(peer), why="", result="refused: not the owner of the supervisor",
        )  # fmt: skip

    def _record(self, what: str, bot: str, peer: Peer, *, who: str, why: str, result: str) -> None:
        try:
            audit.keep(
                self._supervisor.logs_dir,
                what=what, bot=bot, who=who, peer=peer, why=why, result=result,
            )  # fmt: skip
        except OSError as error:
            self._supervisor.told(bot or "-", "action not recorded", str(error))
        if result != "done":
            self._supervisor.told(
                bot or "-", f"{what} refused", result, who=who, why=why, result=result
            )

    async def _request(self, wanted: Any) -> list[dict[str, Any]]:
        """Ask bots over the channel, all at once. Return an answer, or a problem, for each."""
        try:
            requests = msgspec.convert(wanted, list[_Request])
        except msgspec.ValidationError as error:
            raise BadArgument(f"requests can't be read: {error}.") from None
        return list(await asyncio.gather(*map(self._answer, requests)))

    async def _answer(self, one: _Request) -> dict[str, Any]:
        if not self._supervisor.hub.serves(one.instance, one.name):
            # It could wait for a bot that is down; who asks from outside has something else to do.
            text = f"{one.instance} does not serve {one.name} now."
            return {"problem": problems.REFUSED, "text": text}
        try:
            answer = await self._supervisor.hub.desk.request(
                one.name, one.body,
                instance=one.instance, within_s=one.within_s, idempotent=one.idempotent,
            )  # fmt: skip
        except ChannelError as error:
            return {"problem": problems.word(error), "text": str(error)}
        return {"answer": answer}

    async def _act(self, what: str, bot: str, order: dict[str, Any], who: str, why: str) -> Any:
        if what == "scale":
            return await self._scale(bot, order.get("instances"), who, why)
        chosen = self._touchable(bot)
        if what == "limit":
            return self._limit(chosen, order.get("memory"), who, why)
        reason = f"{what} by {who}" + (f": {why}" if why else "")
        for process in chosen:
            self._supervisor.told(process.spec.name, f"asked to {what}", reason, who=who, why=why)
        await asyncio.gather(*(self._do(what, process, reason) for process in chosen))
        return [asdict(process.status()) for process in chosen]

    async def _do(self, what: str, process: Supervised, reason: str) -> None:
        self._supervisor.wait_no_more(process.spec.name)
        match what:
            case "start":
                process.start()
            case "stop":
                await process.stop(reason)
            case _:
                await process.restart(reason)
        await process.launched()

    async def _scale(self, bot: str, instances: Any, who: str, why: str) -> list[dict[str, Any]]:
        supervisor = self._supervisor
        if type(instances) is not int or not 0 <= instances <= _MOST_INSTANCES:
            raise BadArgument(
                f"instances = {instances!r} must be a whole number from 0 to {_MOST_INSTANCES}."
            )
        for observed in supervisor.foreign.values():
            if observed.spec.bot == bot:
                observed.refuse()
        if supervisor.scale_to is None:
            raise BadArgument("this supervisor was given a fixed set of processes.")
        wanted = {spec.name: spec for spec in supervisor.scale_to(bot, instances)}
        supervisor.told(
            bot, "asked to scale", f"to {instances} by {who}" + (f": {why}" if why else ""),
            who=who, why=why,
        )  # fmt: skip
        async with self._scaling:  # of two at once, the last counts
            surplus = [
                process
                for name, process in supervisor.processes.items()
                if process.spec.bot == bot and name not in wanted
            ]
            await asyncio.gather(*(self._do("stop", p, f"scaled down by {who}") for p in surplus))
            for process in surplus:
                supervisor.remove(process.spec.name)
                await asyncio.to_thread(supervisor.limits.release, process.spec.name)
            for name, spec in wanted.items():
                if name not in supervisor.processes:
                    supervisor.add(spec)
            await asyncio.gather(
                *(self._do("start", supervisor.processes[name], "") for name in wanted)
            )
            return [asdict(supervisor.processes[name].status()) for name in wanted]

    def _limit(self, chosen: list[Supervised], memory: Any, who: str, why: str) -> list[Any]:
        try:
            limit_bytes = None if memory is None else units.parse_bytes(memory)
        except ValueError as error:
            raise BadArgument(f"memory: {error}") from None
        if limit_bytes is not None and limit_bytes < _LEAST_LIMIT_BYTES:
            raise BadArgument(f"memory = {memory!r} is less than 1MiB; nothing runs in that.")
        shown = "no limit" if limit_bytes is None else units.show_bytes(limit_bytes)
        for process in chosen:
            process.limit_memory(limit_bytes)
            self._supervisor.hold_limits(process)
            self._supervisor.told(
                process.spec.name, "memory limit", f"{shown}, by {who}: {why}".rstrip(": "),
                who=who, why=why,
            )  # fmt: skip
        return [
            asdict(process.status()) | {"memory_limit_bytes": limit_bytes} for process in chosen
        ]

    def _diagnose(self, process: Supervised | Observed) -> dict[str, Any]:
        name, supervisor = process.spec.name, self._supervisor
        frame = supervisor.frames.get(name)
        said = frame and msgspec.structs.replace(frame, buckets={}, lag={})  # nobody reads those
        return {
            **asdict(process.status()),
            "frame": msgspec.to_builtins(said),
            "limits_held_by": supervisor.held.get(name, {}),
            "measured": supervisor.care.measured.get(name, {}),
            "log": logs.tail(logs.path_of(supervisor.logs_dir, name), 20),
            "crash_reports": msgspec.to_builtins(crashes.read(supervisor.logs_dir, name)),
            "events": [event for event in supervisor.events if event["name"] == name][-10:],
        }

    def _named(self, bot: str) -> list[Supervised | Observed]:
        bots = [process for process in self._supervisor.everybody() if process.spec.kind == "bot"]
        chosen = [p for p in bots if bot in (p.spec.name, p.spec.bot, "all")]
        if not chosen:
            known = sorted({process.spec.bot for process in bots})
            raise UnknownBot(f"no bot {bot!r}; this fleet has: {', '.join(known) or 'none'}.")
        return chosen

    def _touchable(self, bot: str) -> list[Supervised]:
        """Return the processes of a bot that are ours to touch; ``all`` leaves foreign ones out."""
        ours: list[Supervised] = []
        for process in self._named(bot):
            if isinstance(process, Observed):
                if bot != "all":
                    process.refuse()
                continue
            ours.append(process)
        return ours
