"""The connections of one database server, handed out to the processes of a fleet by lease.

A plan says what each instance is sure to have (its *floor*) and what it should have (its *share*).
What is between the floors and the wall belongs to nobody: a bot whose callers wait asks for it, and
gets it within a round trip when some is free, or as soon as another gives it back. So the fleet
waits nearly as little as if it had one shared pool, without a proxy in the way.

::

                 wall = max_connections - reserved - others - operations
    ├── floors of all instances ──┬── surge ──┬───────── lent and free ─────────┤
      always theirs, also while     for a new    by lease: renewed every third of
      Redis is away                 instance     its time, never lent twice
                                    while its
                                    predecessor
                                    may live

**What holds at every instant**: ``floors + surge + lent <= wall``, where a process counts with the
greater of what it may have and what it has. It is kept by one Lua script, so atomically, and it
survives these:

- *A bot crashes, is stopped, or loses its network*: its lease ends, but what it had is not lent
  again until the server itself was asked how many connections of it are still open (``audit``).
  A process that is dead for sure (same host, its pid gone) need not wait for its lease to end.
- *It is started again*: its successor gets the floor when the server has forgotten the predecessor,
  and a part of the surge until then.
- *It goes on after a pause*: it knows by its own monotonic clock that its lease has ended, checks
  that before it opens a connection, and falls to its floor.
- *It forks*: a child has no floor and must lease what it opens.
- *Redis is away*: each process falls to its floor, and the floors always fit.
- *Redis forgot everything*: nothing is lent for as long as a lease lasts; by then whoever still has
  a lease has told so.
- *Messages come late or twice*: each change of a cap has a number, and only newer ones count; only
  who knows the newest may lower it.

What remains: a floor that a plan lowers is lent at once, so a process that is out of touch at that
moment keeps the old one until it reaches Redis again; and when Redis forgets everything in the same
moment as a plan raises a floor, the raise counts before the others told what they have. Plans move
floors rarely, by one or two, and the operations' part of the wall is there for it. And a process
that is stopped between its check and its connect, for longer than its lease
and an audit, may open that one connection too many. Nothing outside the server could prevent it.
"""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis
    import sqlalchemy as sa

TTL_S = 10.0
_PARTS = ("state", "floors", "shares", "owners", "holders", "expiry", "waiting")


@dataclass(frozen=True, slots=True)
class Part:
    """What the plan gives one instance: surely ``floor``, usually ``share``."""

    floor: int
    share: int


@dataclass(frozen=True, slots=True)
class Lease:
    """What a process may open now. ``base`` of it stays when the lease ends; ``seq`` orders caps.

    ``hungry`` is how many processes wait for more.
    """

    cap: int
    base: int
    share: int
    seq: int
    hungry: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a lease, or had one and may still have connections open (``lost``)."""

    name: str
    application: str
    process: str
    open: int
    cap: int
    floor: int
    starter: int
    lost: bool
    instance: str
    share: int


class Budget:
    """The budget of one server; ``server`` as :func:`server_of` names it.

    Methods raise redis.RedisError when Redis is away.
    """

    def __init__(self, client: redis.Redis, server: str, *, ttl_s: float = TTL_S) -> None:
        self.server = server
        self.ttl_s = ttl_s
        self.client = client
        self.channel = keys.pool_budget(server, "say")
        self._keys = [keys.pool_budget(server, part) for part in _PARTS]
        text = resources.files("outrider.database").joinpath("budget.lua").read_text("utf-8")
        self._script = client.register_script(text)

    def publish(self, wall: int, surge: int, parts: Mapping[str, Part]) -> int:
        """Put a plan in force, as far as what is lent leaves room. Return the sum of the floors."""
        each = [text for name, part in parts.items() for text in (name, part.floor, part.share)]
        return int(self._do("plan", wall, surge, round(self.ttl_s * 1000), *each))

    def renew(
        self,
        holder: str,
        instance: str,
        *,
        open_: int,
        want: int,
        seq: int,
        application: str = "",
        process: str = "",
    ) -> Lease | None:
        """Renew a lease, or take one. None: nobody has published a plan.

        Who wants less than before must have shrunk to it already; ``seq`` is the number of the cap
        that it knows.
        """
        answer = self._do(
            "renew", holder, instance, open_, want, seq, round(self.ttl_s * 1000),
            application or holder, process,
        )  # fmt: skip
        if answer is None:
            return None
        cap, base, share, at, hungry, frozen = map(int, answer)
        return Lease(cap, base, share, at, hungry, bool(frozen))

    def release(self, *holders: str) -> None:
        """Give back everything of holders that have no connection open any more."""
        self._do("release", *holders)

    def bury(self, *holders: str) -> None:
        """End the leases of processes that are dead for sure; an audit frees what they had."""
        self._do("bury", *holders)

    def audit(self, open_: Mapping[str, int]) -> None:
        """Correct what lost holders have open, as the server counts it."""
        if open_:
            self._do("audit", *(text for each in open_.items() for text in each))

    def holders(self) -> list[Holder]:
        """Return everybody who may have connections open."""
        return [_holder(each) for each in self._do("holders") or ()]

    def is_due(self, now_s: float, every_s: float) -> bool:
        """Tell whether a plan is due; each ``every_s`` seconds only one caller is told so."""
        due = self.client.set(f"{self._keys[0]}:due", now_s, nx=True, px=round(every_s * 1000))
        return bool(due)

    def state(self) -> dict[str, int]:
        """Return the sums: wall, surge, reserved, extra, starters; empty without a plan."""
        stored = cast("dict[bytes, bytes]", self.client.hgetall(self._keys[0]))
        return {name.decode(): int(value) for name, value in stored.items()}

    def _do(self, what: str, *arguments: Any) -> Any:
        return self._script(keys=self._keys, args=[what, self.channel, *arguments])


def _holder(told: list[Any]) -> Holder:
    name, application, process = (text.decode() for text in told[:3])
    open_, cap, floor, starter, lost = map(int, told[3:8])
    instance, share = told[8].decode(), int(told[9])
    return Holder(
        name, application, process, open_, cap, floor, starter, bool(lost), instance, share
    )


def server_of(url: sa.URL) -> str:
    """Return the name of a URL's server: all its databases share its connections.

    >>> import sqlalchemy as sa
    >>> server_of(sa.make_url("postgresql+psycopg://bot:secret@DB/fleet"))
    'db:5432'
    """
    host = url.host or str(url.query.get("host", "")) or "localhost"
    return f"{host.lower()}:{url.port or url.query.get('port') or 5432}"


def process_name() -> str:
    """Return what names this process for all time: host, pid, and when it was started."""
    return f"{socket.gethostname()}|{os.getpid()}|{_started(os.getpid())}"


def is_dead(process: str) -> bool:
    """Tell whether a process is dead for sure. One of another host, or unknown, is not."""
    host, _, rest = process.partition("|")
    pid, _, started = rest.partition("|")
    if host != socket.gethostname() or not pid.isdecimal() or not started:
        return False
    return _started(int(pid)) != started and Path("/proc/self/stat").exists()


def tag_of(process: str) -> str:
    """Return a short name of a process that a server's application_name has room for."""
    return hashlib.sha256(process.encode()).hexdigest()[:8]


def count_open(holders: Iterable[Holder], open_at_server: Mapping[str, int]) -> dict[str, int]:
    """Return how many connections each lost holder still has open at most.

    ``open_at_server`` counts by application_name, which forked children share with their parent:
    what living holders of that name own up to is theirs, the rest may be anybody's.
    """
    living: dict[str, int] = {}
    every = list(holders)
    for holder in every:
        if not holder.lost:
            living[holder.application] = living.get(holder.application, 0) + holder.open
    return {
        holder.name: max(
            0, open_at_server.get(holder.application, 0) - living.get(holder.application, 0)
        )
        for holder in every
        if holder.lost
    }


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
