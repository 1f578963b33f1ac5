"""Counts of Celery's tasks that outlive whoever counted them.

Counters in a process begin anew with it. So a process only tallies what happened since its last
flush, and a flush adds that to a hash in Redis, in one script: all of a batch or nothing, once even
when the answer got lost and it is sent again, and only while its writer holds the lease, if it
needs one. What can't be flushed waits, and is bounded by the number of names.

A *field* says what was counted: kind, task, worker, queue and, of failures, the exception. Kinds
are those of Celery's events (``sent``, ``received``, ``started``, ``succeeded``, ``failed``,
``rejected``, ``revoked``, ``retried``), ``unseen`` (tasks that ran while no event of them was
heard), ``odd`` (messages that are no events), ``unclean`` (ends of a process that took counts with
it), and of runtimes ``le0`` to ``le14`` (the buckets of
celery-exporter, each by itself) and ``us`` (their sum in microseconds).
"""

from __future__ import annotations

import bisect
import threading
import uuid
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple, cast

from outrider import sketch
from outrider.store import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

OWN = "outrider"
KINDS = (
    "sent", "received", "started", "succeeded", "failed", "rejected", "revoked", "retried",
)  # fmt: skip
# The upper bounds of celery-exporter's runtime buckets, which are prometheus_client's default.
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
# Fields that a hash may have: some 2 MiB. A tally holds fewer, for the second until its flush.
MOST_FIELDS = 20_000
MOST_TALLIED = 4000
RUNTIMES_KEPT_S = 900
LONGEST_NAME = 200
OVERFLOW = "overflow"
# What workers counted that are forgotten: it stays in the totals.
GONE = "gone"
_SEPARATOR = "\x1f"


class Field(NamedTuple):
    """What a count is of."""

    kind: str
    task: str
    worker: str
    queue: str
    exception: str = ""


@dataclass(slots=True)
class Batch:
    """What was counted since the last flush."""

    counts: dict[Field, int] = field(default_factory=dict)
    runtimes: dict[tuple[str, int], int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.counts or self.runtimes)


class Tally:
    """Counts in this process; safe to use from threads. A count costs about a microsecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batch = Batch()

    def add(
        self, kind: str, task: str, worker: str, queue: str, exception: str = "", *, by: int = 1
    ) -> None:
        """Count one thing of a kind."""
        found = Field(kind, task, worker, queue, exception)
        with self._lock:
            counts = self._batch.counts
            if found in counts:
                counts[found] += by
            else:
                self._admit(found, by)

    def runtime(self, task: str, worker: str, queue: str, seconds: float) -> None:
        """Count how long a task ran."""
        place = bisect.bisect_left(BOUNDS_S, seconds)
        self.add(f"le{place}", task, worker, queue)
        self.add("us", task, worker, queue, by=max(0, round(seconds * 1e6)))
        bucket = (task[:LONGEST_NAME], sketch.index(seconds))
        with self._lock:
            runtimes = self._batch.runtimes
            if bucket not in runtimes and len(runtimes) >= MOST_TALLIED:
                bucket = (OVERFLOW, bucket[1])
            runtimes[bucket] = runtimes.get(bucket, 0) + 1

    def begin_anew(self) -> None:
        """Forget everything, in a process just forked: its parent flushes what it tallied."""
        self._lock = threading.Lock()  # the old one may be held by a thread that is not here
        self._batch = Batch()

    def drain(self) -> Batch:
        """Return what was counted, and begin anew."""
        with self._lock:
            drained, self._batch = self._batch, Batch()
        return drained

    def _admit(self, found: Field, by: int) -> None:
        """Take a new field; its lock is held. Names come from outside: they are cut and capped."""
        counts = self._batch.counts
        found = Field(*(part[:LONGEST_NAME] for part in found))
        if found not in counts and len(counts) >= MOST_TALLIED:
            found = Field(found.kind, OVERFLOW, OVERFLOW, OVERFLOW)
        counts[found] = counts.get(found, 0) + by


class Ledger:
    """Adds a process's tallies to the counts of one application in Redis."""

    def __init__(self, client: redis.Redis, app: str, *, holder: str = "") -> None:
        self._client, self._app, self._holder = client, app, holder
        script = resources.files("outrider.metrics").joinpath("celery_flush.lua")
        self._flush = client.register_script(script.read_text("utf-8"))
        self._writer = uuid.uuid4().hex
        self._number = 0
        self._waiting: tuple[int, Batch] | None = None

    @property
    def waits(self) -> bool:
        """Whether a batch is not known to be in Redis."""
        return self._waiting is not None

    def flush(
        self,
        tally: Tally,
        now_s: float,
        tick: int,
        *,
        workers: Mapping[str, str] | None = None,
        receiver: str = "",
    ) -> bool:
        """Add what was tallied. False: the lease is another's, and the batch is dropped.

        Does nothing when there is nothing. What failed before is sent first, under its old number.

        Raises:
            redis.RedisError: nothing is lost; flush again.
        """
        held = True
        if self._waiting:
            held = self._send(*self._waiting, now_s=now_s, tick=tick, workers={}, receiver="")
        batch = tally.drain()
        if held and (batch or workers or receiver):
            self._number += 1
            held = self._send(
                self._number, batch, now_s=now_s, tick=tick, workers=workers or {},
                receiver=receiver,
            )  # fmt: skip
        return held

    def _send(
        self,
        number: int,
        batch: Batch,
        *,
        now_s: float,
        tick: int,
        workers: Mapping[str, str],
        receiver: str,
    ) -> bool:
        self._waiting = (number, batch)
        counts = [
            part
            for each, by in batch.counts.items()
            for part in (_SEPARATOR.join(_clean(each)), by)
        ]
        runtimes = [
            part
            for (task, bucket), by in batch.runtimes.items()
            for part in (_SEPARATOR.join((*_clean((task,)), str(bucket))), by)
        ]
        shown = [part for pair in workers.items() for part in pair]
        app = self._app
        answer = self._flush(
            keys=[
                keys.celery(app, "counts"), keys.celery_runtimes(app, tick),
                keys.celery_batch(self._writer), keys.CELERY_APPS, keys.celery(app, "workers"),
                keys.celery(app, "receiver"), keys.celery(app, "lease"),
            ],
            args=[
                number, now_s, app, MOST_FIELDS, self._holder, receiver, RUNTIMES_KEPT_S,
                len(batch.counts), *counts, len(batch.runtimes), *runtimes,
                len(workers), *shown,
            ],
        )  # fmt: skip
        self._waiting = None
        return int(cast("int", answer)) >= 0


def read(client: redis.Redis, app: str) -> dict[Field, int]:
    """Return everything counted of an application."""
    return parse(cast("dict[bytes, bytes]", client.hgetall(keys.celery(app, "counts"))))


def parse(found: Mapping[bytes, bytes]) -> dict[Field, int]:
    """Return counts as they lie in Redis by field; what is none is passed over."""
    counts = {}
    for name, by in found.items():
        parts = name.decode("utf-8", "replace").split(_SEPARATOR)
        if len(parts) == len(Field._fields):
            counts[Field(*parts)] = int(by)
    return counts


def parse_runtimes(found: Mapping[bytes, bytes]) -> dict[str, dict[int, int]]:
    """Return sketches by task, from the hash of a tick."""
    sketches: dict[str, dict[int, int]] = {}
    for name, by in found.items():
        task, _, bucket = name.decode("utf-8", "replace").rpartition(_SEPARATOR)
        sketches.setdefault(task, {})[int(bucket)] = int(by)
    return sketches


def forget(client: redis.Redis, app: str, workers: set[str]) -> None:
    """Move what workers counted that are gone to one field, so that totals never fall.

    Not for a writer without the lease: two at once would move it twice.
    """
    if not workers:
        return
    held = read(client, app)
    with client.pipeline(transaction=True) as pipe:
        for each, by in held.items():
            if each.worker in workers:
                gone = each._replace(worker=GONE)
                pipe.hincrby(keys.celery(app, "counts"), _SEPARATOR.join(gone), by)
                pipe.hdel(keys.celery(app, "counts"), _SEPARATOR.join(each))
        pipe.hdel(keys.celery(app, "workers"), *workers)
        pipe.execute()


def _clean(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.replace(_SEPARATOR, "?") for part in parts)
