"""The hub: the socket that bots connect to, and who is at the other end of each connection.

::

    canary ──┐                        ┌── desk (the supervisor itself)
    market ──┼── socket ── Peer ── Router
    market-2 ┘   one each, bounded    └── topics, requests, who is least loaded

A bot is known by the kernel's word on who connected (``SO_PEERCRED``), never by its own: the pid is
that of a process the supervisor started, or one in its session, and speaks under that name only. A
process may connect before the supervisor has noted its pid, just after a fork: it is looked up
again for a second before it is refused.

Nothing here waits for a bot. Each is read 64 KiB at a time in turn, what it can fill is bounded,
and all outboxes together hold 128 MiB at most. Who speaks nonsense is closed, stays out for five
seconds, and the reason is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from outrider.channel.envelopes import (
    SUPERVISOR,
    VERSION,
    BadFrame,
    Hello,
    Offer,
    Publish,
    Reply,
    Request,
    Subscribe,
    Welcome,
)
from outrider.channel.outbox import Budget
from outrider.supervisor.channel.desk import Desk
from outrider.supervisor.channel.peer import Peer
from outrider.supervisor.channel.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outrider.channel.envelopes import ToHub

MOST_PEERS = 512
MOST_PEERS_OF_ONE = 32
MOST_QUEUED_BYTES = 128 << 20
KNOWN_WITHIN_S = 1.0
LOOK_EVERY_S = 0.02
STAYS_OUT_S = 5.0
KEPT_REASONS = 50
EXPIRE_EVERY_S = 0.02
NO_ROOM_PAUSE_S = 0.5
_CREDENTIALS = struct.Struct("3i")


class Hub:
    """Listens at ``path`` from :meth:`open` to :meth:`close`, in the running loop.

    ``who(pid)`` returns instance and bot of a supervised process, None for others;
    ``known(bot, instance)`` tells whether there is such a bot, or instance, be it down.
    ``tell(instance, what, detail)`` hears of those that were closed.
    """

    def __init__(
        self,
        path: Path,
        *,
        who: Callable[[int], tuple[str, str] | None],
        known: Callable[[str, str], bool],
        tell: Callable[[str, str, str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.closed: deque[dict[str, Any]] = deque(maxlen=KEPT_REASONS)
        self.faults = 0
        self.refused: Counter[str] = Counter()
        self._who, self._tell, self._now = who, tell, now
        self._router = Router(known)
        self.desk = Desk(self._router, now=now, watch=self._watch_deadlines)
        self._budget = Budget(MOST_QUEUED_BYTES)
        self._peers: set[Peer] = set()
        self._out_until_s: dict[str, float] = {}
        self._gone: Counter[str] = Counter()  # what those sent that are gone
        self._listener: socket.socket | None = None
        self._inode = 0
        self._unknown: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind(str(self.path))
        os.chmod(self.path, 0o600)  # noqa: PTH101 - a socket, not a file
        listener.listen(MOST_PEERS)
        self._inode = self.path.stat().st_ino
        self._listener = listener
        self._listen()

    def _listen(self) -> None:
        assert self._listener is not None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Close all connections; bots connect again when there is another hub. Safe to repeat."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # else it is our successor's
                self.path.unlink()
        for task in self._unknown:
            task.cancel()
        for timer in (self._expiry, self._pause):
            if timer:
                timer.cancel()
        for peer in list(self._peers):
            peer.close("the supervisor stops")
        self.desk.close()

    def serves(self, instance: str, name: str) -> bool:
        """Tell whether a process of an instance is connected and serves a function now."""
        return any(peer.instance == instance and name in peer.offers for peer in self._peers)

    def snapshot(self) -> dict[str, Any]:
        """Return what is known, as plain data: totals since the start, and the state now."""
        written = Counter(self._gone)
        for peer in self._peers:
            written.update(_counted(peer))
        return {
            "totals": asdict(self._router.totals) | dict(written),
            "queued_bytes": self._budget.used_bytes + self._router.waiting_bytes,
            "failures": self.desk.failures,
            "faults": self.faults,
            "refused": dict(self.refused),
            "work": {bot: asdict(work) for bot, work in self._router.work.items()},
            "peers": [
                {
                    "instance": peer.instance,
                    "bot": peer.bot,
                    "pid": peer.pid,
                    "queued_bytes": peer.outbox.waiting_bytes,
                    "dropped": peer.outbox.dropped,
                    "running": len(peer.running),
                    "asked": peer.asked,
                    "topics": sorted(peer.topics),
                    "serves": {name: offer.at_once for name, offer in peer.offers.items()},
                }
                for peer in self._peers
            ],
            "closed": list(self.closed),
        }

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):  # it is gone again
            return
        except OSError as error:  # no descriptor is left: it would be tried again without a rest
            self.refused[f"{error.strerror}"] += 1
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener)
            self._pause = loop.call_later(NO_ROOM_PAUSE_S, self._listen)
            return
        connection.setblocking(False)
        pid, uid, _ = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid not in (os.getuid(), 0):
            self._refuse(connection, "another user")
        elif len(self._peers) + len(self._unknown) >= MOST_PEERS:
            self._refuse(connection, "too many connections")
        elif who := self._find(pid):
            self._admit(connection, pid, *who)
        else:
            task = asyncio.ensure_future(self._look_again(connection, pid))
            self._unknown.add(task)
            task.add_done_callback(self._unknown.discard)

    async def _look_again(self, connection: socket.socket, pid: int) -> None:
        deadline_s = self._now() + KNOWN_WITHIN_S
        try:
            while self._now() < deadline_s:
                await asyncio.sleep(LOOK_EVERY_S)
                if who := self._find(pid):
                    self._admit(connection, pid, *who)
                    return
        except asyncio.CancelledError:
            connection.close()
            raise
        self._refuse(connection, "not a process of this supervisor")

    def _find(self, pid: int) -> tuple[str, str] | None:
        """Return instance and bot of a process, or of the one that leads its session."""
        if pid <= 0:  # outside of our namespace; to the system 0 would mean ourselves
            return None
        if who := self._who(pid):
            return who
        try:
            return self._who(os.getsid(pid))
        except OSError:  # it has ended
            return None

    def _admit(self, connection: socket.socket, pid: int, instance: str, bot: str) -> None:
        if SUPERVISOR in (instance, bot):  # or it could give the supervisor's orders
            self._refuse(connection, "a bot can't be called supervisor")
        elif self._now() < self._out_until_s.get(instance, 0.0):
            self._refuse(connection, "sent nonsense a moment ago")
        elif sum(peer.instance == instance for peer in self._peers) >= MOST_PEERS_OF_ONE:
            self._refuse(connection, "too many connections of one bot")
        else:
            peer = Peer(
                connection, pid=pid, instance=instance, bot=bot, budget=self._budget,
                handle=self._handle, freed=self._freed, gone=self._forget,
            )  # fmt: skip
            self._peers.add(peer)
            self._router.join(peer, self._now())

    def _refuse(self, connection: socket.socket, why: str) -> None:
        self.refused[why] += 1
        connection.close()

    def _handle(self, peer: Peer, envelope: ToHub) -> None:
        match envelope:
            case Publish():
                self._router.publish(peer, envelope)
            case Request():
                self._router.request(peer, envelope, self._now())
                self._watch_deadlines()
            case Reply():
                self._router.reply(peer, envelope, self._now())
            case Subscribe():
                self._router.subscribe(peer, envelope)
            case Offer():
                self._router.offer(peer, envelope, self._now())
            case Hello(version):
                if version != VERSION:
                    raise BadFrame(f"it speaks version {version} of the channel, we {VERSION}.")
                peer.take(Welcome(peer.instance, peer.bot))

    def _freed(self, peer: Peer) -> None:
        self._router.freed(peer, self._now())

    def _forget(self, peer: Peer, why: str, at_fault: bool) -> None:  # noqa: FBT001 - a callback
        self._peers.discard(peer)
        self._gone.update(_counted(peer))
        self._router.leave(peer, self._now())
        if at_fault:
            self.faults += 1
            self._out_until_s[peer.instance] = self._now() + STAYS_OUT_S
            self.closed.append(
                {"at_s": time.time(), "instance": peer.instance, "pid": peer.pid, "reason": why}
            )
            self._tell(peer.instance, "channel closed", why)

    def _watch_deadlines(self) -> None:
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(EXPIRE_EVERY_S, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        if self._router.expire(self._now()) is not None:
            self._watch_deadlines()


def _counted(peer: Peer) -> dict[str, Any]:
    written = peer.outbox.written
    return {
        "sent_frames": written.frames,
        "sent_messages": written.messages,
        "sent_bytes": written.bytes,
        "waited_s": written.waited_s,
        "received_frames": peer.received_frames,
        "received_bytes": peer.received_bytes,
        "unsent_messages": peer.outbox.dropped,
    }
