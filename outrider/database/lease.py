"""Keeps a process's pool within its lease, and the lease as large as the process needs.

One thread a pool. It sleeps until the lease is due, a caller has to wait, or another process asks
for connections; then it decides once for all that happened meanwhile::

    want = in use + waiting           what is needed now
         | the most of late           keeps what a burst needs, for ``DECAY_S``
         - some                       of what is above the share, for as many as wait for long
                                      below theirs; given up even if it is in use
         | share, or a step more      beyond its share it grows in steps

To shrink, the pool shrinks first and tells then; to grow, it asks first. When Redis does not answer
until the lease has ended, the pool falls to its base. It starts with its base, so that a bot
answers before it has reached Redis.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import queue
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING

import redis

from outrider.database import budget
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from outrider.database.resizable import ResizablePool
    from outrider.database.slots import Use

logger = logging.getLogger(__name__)

# What a burst needed is kept so long: opening a connection costs thirty queries.
DECAY_S = 10.0
# Redis away: try again after this long, spread so that a fleet does not come back as one.
RETRY_S = (0.2, 1.0)
# Beyond its share a process grows in steps: in a burst that meets all, the first would take what
# the others are about to ask for, and opening and closing would take longer than their work.
STEP, STEP_S = 2, 0.005
# While callers wait: the budget has to notice who waits for long.
ASK_AGAIN_S = 0.25
# Enough for a caller and the one behind it.
_HEADROOM = 1


class Leaseholder:
    """The lease of one engine's pool. Threads start when the first caller has to wait, or at once.

    ``instance`` names the process in the plan; ``floor`` is what it may have without any lease.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        redis_url: str,
        server: str,
        instance: str,
        application: str,
        floor: int,
        ttl_s: float = budget.TTL_S,
        connect: Callable[[str], redis.Redis] | None = None,
    ) -> None:
        self.instance = instance
        self.application = application
        self.base = floor
        self.share = floor
        self.expired = 0
        self._engine = weakref.ref(engine)
        self._redis_url = redis_url
        self.server = server
        self._ttl_s = ttl_s
        self._connect = connect or (lambda url: connection.connect(url, timeout_s=1.0))
        self._begin()
        _ALL.add(self)
        self._adopt()

    def _begin(self) -> None:
        """Begin with no lease: at the start, and again in a child."""
        self.process = budget.process_name()
        self.holder = f"{self.instance}:{budget.tag_of(self.process)}:{next(_NUMBERS)}"
        self.hungry = self.urgent = 0
        self._paced = False
        self._seq = 0
        self._deadline_s = 0.0
        self._peaks: list[tuple[float, int]] = []
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked = False
        self.closed = False
        self._thread: threading.Thread | None = None
        self._listener: threading.Thread | None = None
        self._client: redis.Redis | None = None
        self._starting = threading.Lock()

    def after_fork(self) -> None:
        """Begin anew in a child: it has no floor, and must lease what it opens."""
        self.instance = f"{self.instance}+child"
        self.base = self.share = 0
        self._begin()
        self._adopt()

    # What the pool tells; see resizable.Watcher.

    def starved(self) -> None:
        """Ask for more, soon: a caller waits."""
        self._tell("starved")

    def freed(self) -> None:
        """Give back soon: somebody waits elsewhere, or we shrink."""
        self._tell("freed")

    def start(self) -> None:
        """Take the lease now, rather than when the first caller waits."""
        self._tell("start")

    def _tell(self, what: str) -> None:
        if not self._asked:
            self._asked = True
            self._news.put(what)
        if self._thread is None and not self.closed:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="outrider-lease", daemon=True
                    )
                    self._thread.start()

    def may_open(self) -> bool:
        """Tell whether the pool may open one more of what its lease allows, at this moment."""
        pool = self._pool()
        return time.monotonic() < self._deadline_s or pool is None or pool.use().held <= self.base

    def close(self) -> None:
        """Give the lease back, when nothing is open any more; else it ends by itself."""
        self.closed = True
        self._news.put("close")
        pool, client = self._pool(), self._client
        if pool is not None:
            pool.dispose()
        if client is not None and (pool is None or not pool.use().held):
            with contextlib.suppress(redis.RedisError):
                budget.Budget(client, self.server, ttl_s=self._ttl_s).release(self.holder)

    # The thread.

    def _run(self) -> None:
        failed = False
        while not self.closed:
            pause_s = self._pause_s(failed=failed)
            with contextlib.suppress(queue.Empty):
                self._handle(self._news.get(timeout=pause_s))
                while True:
                    self._handle(self._news.get_nowait())
            self._asked = False
            if self.closed or self._pool() is None:
                return
            failed = not self._renew()

    def _pause_s(self, *, failed: bool) -> float:
        if failed:
            return random.uniform(*RETRY_S)  # noqa: S311
        pool = self._pool()
        waits = pool is not None and pool.use().waiting
        if waits:
            return STEP_S if self._paced else ASK_AGAIN_S
        return self._ttl_s / 3

    def _handle(self, message: str) -> None:
        what, *rest = message.split(" ")
        if what == "cap" and rest[0] == self.holder:
            self._apply(int(rest[1]), int(rest[2]))
        elif what == "hungry":
            self.urgent = int(rest[1])
            self._note_hunger(int(rest[0]))

    def _renew(self) -> bool:
        """Tell what is open and wanted, and apply the answer. Return whether there was one."""
        pool = self._pool()
        if pool is None:
            return True
        want = self._want(pool.use(), pool.slots.peak())
        if want < pool.slots.cap:
            pool.resize(want)  # before it is told: what is told is lent to others
        began_s = time.monotonic()
        held = pool.use().held
        try:
            lease = self._budget().renew(
                self.holder, self.instance, open_=held, want=want, seq=self._seq,
                application=self.application, process=self.process,
            )  # fmt: skip
        except redis.RedisError as error:
            self._away(pool, error)
            return False
        if lease is None:
            self._away(pool, None)
            return False
        self._deadline_s = began_s + self._ttl_s
        self.base, self.share = lease.base, lease.share
        self._note_hunger(lease.hungry)
        self._apply(lease.cap, lease.seq)
        return True

    def _want(self, use: Use, peak: int) -> int:
        now = use.held - use.idle + use.waiting
        at_s = time.monotonic()
        self._peaks = [(s, most) for s, most in self._peaks if s > at_s - DECAY_S]
        self._peaks.append((at_s, max(peak, now)))
        if self.hungry:
            want = now
            if self.urgent and use.cap > self.share:
                want = min(want, max(self.share, use.cap - self.urgent))
        else:
            want = max(most for _, most in self._peaks) + _HEADROOM
        paced = max(self.share, use.cap + STEP)
        self._paced = want > paced
        want = min(want, paced)
        return max(self.base, want)

    def _apply(self, cap: int, seq: int) -> None:
        pool = self._pool()
        if pool is not None and seq > self._seq:
            self._seq = seq
            pool.resize(cap)

    def _note_hunger(self, hungry: int) -> None:
        self.hungry = hungry
        pool = self._pool()
        if pool is not None:  # each connection that comes back may then be somebody else's
            pool.watcher.wants_freed = hungry > 0

    def _away(self, pool: ResizablePool, error: Exception | None) -> None:
        if time.monotonic() < self._deadline_s or pool.slots.cap <= self.base:
            return
        self.expired += 1
        why = f"Redis does not answer ({error})" if error else "no plan is published"
        logger.warning(
            "%s: the lease of connections has ended (%s); %d are left to this process.",
            self.instance, why, self.base,
        )  # fmt: skip
        pool.resize(self.base)

    def _budget(self) -> budget.Budget:
        if self._client is None:
            self._client = self._connect(self._redis_url)
            self._listener = threading.Thread(
                target=self._listen, args=(self._client,), name="outrider-lease-news", daemon=True
            )
            self._made = budget.Budget(self._client, self.server, ttl_s=self._ttl_s)
            self._bury_dead()
            self._listener.start()
        return self._made

    def _bury_dead(self) -> None:
        """Say which processes of this host are dead, so that what they had is soon free."""
        with contextlib.suppress(redis.RedisError):
            holders = self._made.holders()
            dead = [each.name for each in holders if not each.lost and budget.is_dead(each.process)]
            if dead:
                self._made.bury(*dead)

    def _listen(self, client: redis.Redis) -> None:
        """Hear of raised caps and of others' hunger; what is missed, the next renewal tells."""
        news = self._news
        while not self.closed and news is self._news:
            pubsub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
            try:
                pubsub.subscribe(self._made.channel)
                while not self.closed and news is self._news:
                    said = pubsub.get_message(timeout=1.0)
                    if said and (text := said["data"].decode()) and self._concerns(text):
                        news.put(text)
            except redis.RedisError:
                time.sleep(random.uniform(*RETRY_S))  # noqa: S311
            finally:
                pubsub.close()

    def _concerns(self, text: str) -> bool:
        return text.startswith("hungry") or text.split(" ")[1] == self.holder

    def _pool(self) -> ResizablePool | None:
        engine = self._engine()
        return engine.pool if engine is not None else None  # type: ignore[return-value]

    def _adopt(self) -> None:
        pool = self._pool()
        if pool is not None:
            pool.may_open, pool.sees_ends = self.may_open, True
            pool.slots.cap = self.base


_ALL: weakref.WeakSet[Leaseholder] = weakref.WeakSet()


_NUMBERS = itertools.count(1)


def holders() -> list[Leaseholder]:
    """Return the leases of this process."""
    return [holder for holder in _ALL if not holder.closed]


def after_fork() -> None:
    """Begin anew in a child, after its engines dropped the pools that they inherited."""
    for holder in list(_ALL):
        holder.after_fork()


@atexit.register
def _give_back() -> None:
    for holder in list(_ALL):
        holder.close()
