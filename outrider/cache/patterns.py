"""Which calls are used when: noted in the process, shared through Redis, bounded everywhere.

On the path of a hit a use costs one dictionary update. About once a second a thread reads what
Redis knows of the keys that were used, adds the new visits, and writes them back: two pipelines,
however many keys. Processes that use the same keys so build one rhythm together. If two of them
write the same key in the same instant, one visit is lost, which a smoothed rhythm forgives.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
import redis

from outrider.cache import keys, usage
from outrider.cache.calls import canonical
from outrider.cache.rhythm import VISIT_SHARE
from outrider.cache.usage import Use, count
from outrider.clock import SYSTEM

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from outrider.cache.asking import Answer
    from outrider.cache.calls import Call
    from outrider.cache.inbot import InBot
    from outrider.clock import Clock

FLUSH_S = 1.0
MOST_PENDING = 2000  # noted in a process between two flushes, for one namespace
_MOST_VISITS = 16
# Trimming reads the whole hash, so it waits until a quarter too much has gathered.
_TRIM_AT = usage.MOST_KEYS * 5 // 4

logger = logging.getLogger(__name__)


class _Seen:
    """The uses of one key since the last flush."""

    __slots__ = ("call", "count", "expires_s", "last_s", "visits")

    def __init__(self, call: Call | None) -> None:
        self.call = call
        self.count = 0
        self.last_s = 0.0
        self.visits: list[float] = []
        self.expires_s = 0.0

    def absorb(self, older: _Seen) -> None:
        """Add what an earlier flush could not write."""
        self.call = self.call or older.call
        self.count += older.count
        self.last_s = max(self.last_s, older.last_s)
        self.visits = (older.visits + self.visits)[-_MOST_VISITS:]
        self.expires_s = max(self.expires_s, older.expires_s)

    def times(self) -> list[float]:
        """Return when it was used, as far as its rhythm is concerned; nothing if it can't be."""
        if self.call is None or not self.call.replayable:
            return []
        return [*self.visits, self.last_s] if self.last_s not in self.visits else self.visits


class NamespaceUse:
    """The uses of one namespace in this process. Nothing here waits, or raises."""

    def __init__(self, namespace: str, *, loader: str, ttl_s: float, version: str = "") -> None:
        self.namespace = namespace
        self.loader = loader
        self.version = version
        self.bot = os.environ.get("OUTRIDER_BOT", "")
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ttl_s = ttl_s
        self.skipped = 0
        self._visit_s = ttl_s * VISIT_SHARE
        self._seen: dict[str, _Seen] = {}
        self._loads = 0
        self._warmed_hits: dict[str, None] = {}

    def touch(self, call: Call, now_s: float, count: int = 1) -> None:
        """Note a use, or several that were counted together."""
        seen = self._seen.get(call.key) or self._entry(call.key)
        if seen is None:
            return
        seen.call = seen.call or call
        seen.count += count
        seen.last_s = now_s
        visits = seen.visits
        if (not visits or now_s - visits[-1] >= self._visit_s) and len(visits) < _MOST_VISITS:
            visits.append(now_s)

    def expires(self, key: str, at_s: float) -> None:
        """Note when the present value of a key expires."""
        seen = self._seen.get(key) or self._entry(key)
        if seen is not None:
            seen.expires_s = max(seen.expires_s, at_s)

    def loaded(self, key: str, expires_s: float) -> None:
        """Note a load on demand."""
        self._loads += 1
        self.expires(key, expires_s)

    def warmed_hit(self, key: str) -> None:
        """Note that a value loaded ahead has served."""
        if len(self._warmed_hits) < MOST_PENDING:
            self._warmed_hits[key] = None

    def take(self) -> _Pending | None:
        """Return what was noted since the last call, or None when nothing was."""
        seen, self._seen = self._seen, {}
        warmed_hits, self._warmed_hits = self._warmed_hits, {}
        loads, self._loads = self._loads, 0
        if not (seen or loads or warmed_hits):
            return None
        # Copied, for a thread that is in touch() now may still add to what was taken.
        return _Pending(self, dict(seen), loads, list(warmed_hits))

    def put_back(self, pending: _Pending) -> None:
        """Keep for the next flush what this one could not write."""
        self._loads += pending.loads
        for key in pending.warmed_hits:
            self.warmed_hit(key)
        for key, older in pending.seen.items():
            entry = self._entry(key)
            if entry is not None:
                entry.absorb(older)

    def _entry(self, key: str) -> _Seen | None:
        if len(self._seen) >= MOST_PENDING and key not in self._seen:
            self.skipped += 1
            return None
        if self.loop is None:
            self.loop = _running_loop()
        return self._seen.setdefault(key, _Seen(None))


@dataclass(frozen=True, slots=True)
class _Pending:
    """What one flush has to write for one namespace."""

    of: NamespaceUse
    seen: Mapping[str, _Seen]
    loads: int
    warmed_hits: list[str]


class Recorder:
    """Flushes the uses of a process. Its thread starts with the first namespace."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        clock: Clock = SYSTEM,
        flush_s: float = FLUSH_S,
        warms: bool = False,
    ) -> None:
        self.failed = 0
        self._warms = warms
        self._inbot: InBot | None = None
        self._client = client
        self._clock = clock
        self._flush_s = flush_s
        self._lock = threading.Lock()
        self._uses: list[NamespaceUse] = []
        self._wake = threading.Event()
        self._owner = os.getpid()
        self._thread: threading.Thread | None = None

    def namespace(
        self, namespace: str, *, loader: str, ttl_s: float, version: str = ""
    ) -> NamespaceUse:
        """Return where to note the uses of a namespace."""
        use = NamespaceUse(namespace, loader=loader, ttl_s=ttl_s, version=version)
        with self._lock:
            self._uses.append(use)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outrider-use", daemon=True)
                self._thread.start()
                if self._warms:
                    self._begin_warming()
                atexit.register(self.close)
        return use

    def load_ahead(self, body: Any) -> Answer:
        """Do what a worker asks for, see :func:`outrider.cache.asking.serve`."""
        from outrider.cache import asking

        return asking.serve(self._client, self._uses, body, clock=self._clock)

    def flush(self) -> bool:
        """Write what was noted. Return False, and keep it, when Redis does not answer."""
        found = [pending for use in self._uses if (pending := use.take()) is not None]
        if not found:
            return True
        try:
            self._write(found)
        except redis.RedisError as error:
            self.failed += 1
            if self.failed == 1:
                logger.warning("cache: usage could not be recorded: %s", error)
            for pending in found:
                pending.of.put_back(pending)
            return False
        return True

    def close(self) -> None:
        """Flush once more and end the thread."""
        atexit.unregister(self.close)
        if os.getpid() != self._owner:
            return  # a forked child: the parent flushes what is its own
        self._wake.set()
        if self._inbot is not None:
            self._inbot.stop()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self.flush()

    def _begin_warming(self) -> None:
        from outrider.cache.inbot import InBot

        self._inbot = InBot(self._client, lambda: self._uses, clock=self._clock)
        self._inbot.start()

    def _run(self) -> None:
        while not self._wake.wait(self._flush_s):
            try:
                self.flush()
            except Exception:  # what could not be written is lost, the next second is not
                logger.exception("cache: usage could not be recorded")

    def _write(self, found: list[_Pending]) -> None:
        with self._client.pipeline(transaction=False) as pipe:
            for pending in found:
                name = pending.of.namespace
                pipe.hmget(keys.usage(name), list(pending.seen) or [""])
                # Whoever removes the mark counts the hit, so that of many processes one does.
                pipe.hdel(keys.warmed(name), *(pending.warmed_hits or [""]))
            answers = pipe.execute()
        now_s = self._clock.now()
        with self._client.pipeline(transaction=False) as pipe:
            for number, pending in enumerate(found):
                known, warmed_hits = answers[2 * number : 2 * number + 2]
                _write_namespace(pipe, pending, known, warmed_hits, now_s)
            for pending in found:
                pipe.hlen(keys.usage(pending.of.namespace))
            sizes = cast("list[int]", pipe.execute())[-len(found) :]
        for pending, size in zip(found, sizes, strict=True):
            if size > _TRIM_AT:
                usage.trim(self._client, pending.of.namespace)


def _write_namespace(
    pipe: Any, pending: _Pending, known: list[bytes | None], warmed_hits: int, now_s: float
) -> None:
    """Queue what is to be written for one namespace."""
    use = pending.of
    written = {
        key: msgspec.msgpack.encode(merge(usage.decode(message), use, seen))
        for (key, seen), message in zip(pending.seen.items(), known, strict=False)
    }
    if written:
        pipe.hset(keys.usage(use.namespace), mapping=written)
        usage.log(
            pipe, use, [(key, at_s) for key, seen in pending.seen.items() for at_s in seen.times()]
        )
    pipe.expire(keys.usage(use.namespace), usage.USE_TTL_S)
    pipe.expire(keys.warmed(use.namespace), usage.USE_TTL_S)
    pipe.zadd(keys.NAMESPACES, {use.namespace: now_s})
    count(pipe, use.namespace, now_s, loads=pending.loads, warmed_hits=warmed_hits)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of the caller, if any: asynchronous loaders are run again in it."""
    found = sys.modules.get("asyncio")
    return found._get_running_loop() if found else None  # noqa: SLF001 - without an exception


def merge(known: Use | None, use: NamespaceUse, seen: _Seen) -> Use:
    """Return what is known of a key after the uses that were just seen."""
    before = known or Use()
    rhythm = before.rhythm
    for at_s in seen.visits:
        if rhythm.begins_visit(at_s, use.ttl_s):
            rhythm = rhythm.after(at_s)
    call = seen.call
    args, kwargs = before.args, before.kwargs
    if call is not None:
        # A list that its owner changed after the call is no longer what the key stands for.
        repeatable = call.replayable and canonical(call.args, call.kwargs).key == call.text
        args = list(call.args) if repeatable else None
        kwargs = dict(call.kwargs) if repeatable else {}
    return Use(
        loader=use.loader,
        version=use.version,
        bot=use.bot,
        args=args,
        kwargs=kwargs,
        ttl_s=use.ttl_s,
        expires_s=max(before.expires_s, seen.expires_s),
        last_use_s=max(before.last_use_s, seen.last_s),
        uses=before.uses + seen.count,
        visits=rhythm.visits,
        visited_s=rhythm.last_s,
        gap_s=rhythm.gap_s,
        jitter_s=rhythm.jitter_s,
    )
