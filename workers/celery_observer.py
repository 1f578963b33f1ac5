"""Watches the fleet's other Celery applications, each from one place of the fleet at a time.

Every worker asks for the lease of each application of ``[[celery]]``; who holds it watches, with
three threads an application:

- one keeps the lease and writes once a second: what was counted, the workers heard, and that we
  live. All of it is one script that writes nothing when the lease is another's by then;
- one listens to events on a Redis channel, without kombu, which costs ten times as much;
- one looks at the queues once a tick, and asks workers for their pools and queues: new ones at
  once, all of them once a minute.

Each waits for its own connection only, so that a broker that hangs delays neither the lease nor
another application. A channel that is silent is asked for a sign of life; without one the
connection is made anew. Nothing here ends by itself.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import redis
from celery import Celery, bootsteps
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from outrider.clock import SYSTEM, Clock, tick_at
from outrider.metrics import celery, celery_counts, celery_workers
from outrider.metrics.celery_counts import Ledger, Tally
from outrider.metrics.celery_events import Fold
from outrider.metrics.celery_queues import Bindings, Broker, client_url, layout_of
from outrider.schedules.lease import Lease
from outrider.store import connection, keys
from outrider.tasks import context
from outrider.workers.tally import Counting

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.settings import CeleryAppSettings

BEAT_S = 1.0
# The broker is asked for a sign of life this often, and given up when none came for that long.
PING_EVERY_S = 5.0
DEAF_AFTER_S = 15.0
LONGEST_WAIT_S = 10.0
ASK_POOLS_EVERY_S = 60.0
ASK_POOLS_FOR_S = 1.0
# A worker that takes no commands is not asked at every look.
ASK_POOLS_TIMES = 3
FORGET_EVERY_S = 60.0
_AWAY = (redis.RedisError, OperationalError, OSError)

logger = get_logger(__name__)


class CeleryStep(bootsteps.StartStopStep):
    """Counts our own tasks, and watches other applications, for as long as a worker runs."""

    def __init__(self, worker: Any, **_: Any) -> None:
        self._counting: Counting | None = None
        self._observers: list[Observer] = []
        super().__init__(worker)

    def start(self, worker: Any) -> None:
        """Begin with the worker."""
        ctx = context.current()
        self._counting = Counting(
            lambda: connection.connect(ctx.redis_url),
            worker=worker.hostname, interval_s=ctx.settings.interval_s,
        )  # fmt: skip
        self._counting.begin()
        self._counting.mark()
        for app in ctx.settings.celery:
            ours = connection.connect(ctx.redis_url)
            observer = Observer(app, ours, every_s=ctx.settings.interval_s)
            observer.start()
            self._observers.append(observer)

    def stop(self, worker: Any) -> None:
        """End with the worker: others may watch at once, and nothing counted is left."""
        del worker
        for observer in self._observers:
            observer.stop()
        if self._counting is not None:
            self._counting.end()
        self._observers, self._counting = [], None

    def terminate(self, worker: Any) -> None:
        """End with the worker when it is in a hurry."""
        self.stop(worker)


class Observer:
    """Watches one application while it holds the lease."""

    def __init__(
        self, app: CeleryAppSettings, ours: redis.Redis, *, every_s: float, clock: Clock = SYSTEM
    ) -> None:
        self.app, self._ours, self._every_s, self._clock = app, ours, every_s, clock
        self._lease = Lease(
            ours, key=keys.celery(app.name, "lease"), token_key=keys.celery(app.name, "token")
        )
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin in a thread; returns at once."""
        self._thread = threading.Thread(
            target=self._run, name=f"watch-{self.app.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End, and hand the lease over. Waits for a few seconds at most."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        away = False
        while not self._ended.is_set():
            try:
                if self._lease.hold():
                    away = False
                    self._watch()
            except redis.RedisError as error:
                if not away:
                    logger.warning(
                        "%s is not watched: our Redis is away (%s)", self.app.name, error
                    )
                away = True
            except Exception:
                logger.exception("watching %s failed; beginning anew", self.app.name)
            self._ended.wait(BEAT_S)
        with contextlib.suppress(redis.RedisError):
            self._lease.release()

    def _watch(self) -> None:
        """Watch until told to end, or until the lease is lost."""
        logger.info("watching the Celery application %s", self.app.name)
        watch = Watch(self.app, self._ours, self._lease.holder, self._every_s, self._clock)
        watch.start()
        try:
            while not self._ended.is_set() and self._lease.hold() and watch.beat():
                self._ended.wait(BEAT_S)
        finally:
            watch.stop()
        with contextlib.suppress(redis.RedisError):
            watch.beat()


class Watch:
    """One turn of watching one application: what was heard and seen since the lease is ours."""

    def __init__(
        self, app: CeleryAppSettings, ours: redis.Redis, holder: str, every_s: float, clock: Clock
    ) -> None:
        self.app, self._ours, self._every_s, self._clock = app, ours, every_s, clock
        known = celery.state_of(ours, app.name, 0)
        self.tally = Tally()
        self.fold = Fold(self.tally, known.workers)
        self._connects = known.receiver.connects if known.receiver else 0
        self._heard_s = known.receiver.heard_s if known.receiver else 0.0
        self._ledger = Ledger(ours, app.name, holder=holder)
        self._forgot_s = clock.now()
        self._url = client_url(app.broker.get_secret_value())
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(part,), daemon=True,
                             name=f"{name}-{app.name}")
            for name, part in (("listen", self._listen), ("look", self._look))
            if name == "look" or app.events
        ]  # fmt: skip

    def start(self) -> None:
        """Begin to listen and to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both. Waits for a few seconds at most."""
        self._ended.set()
        for thread in self._threads:
            thread.join(3)

    def beat(self) -> bool:
        """Write what was heard. False: the lease is another's by now.

        Raises:
            redis.RedisError: our Redis does not answer; nothing is lost, beat again.
        """
        now_s = self._clock.now()
        if now_s - self._forgot_s > FORGET_EVERY_S:
            self._forgot_s = now_s
            celery_counts.forget(self._ours, self.app.name, self.fold.forget(now_s))
        changed = {name: celery_workers.encode(w) for name, w in self.fold.changed().items()}
        said = celery.Receiver(at_s=now_s, heard_s=self._heard_s, connects=self._connects)
        receiver = msgspec.json.encode(said).decode() if self.app.events else ""
        tick = tick_at(now_s, self._every_s)
        return self._ledger.flush(self.tally, now_s, tick, workers=changed, receiver=receiver)

    def _guarded(self, part: Callable[[], None]) -> None:
        """Run a part again and again until the end, with longer and longer waits when it fails."""
        wait_s, last = 0.2, ""
        while not self._ended.is_set():
            began_s = self._clock.monotonic()
            try:
                part()
            except _AWAY as error:
                level = logging.DEBUG if str(error) == last else logging.WARNING  # once an outage
                logger.log(level, "%s: its broker is away (%s)", self.app.name, error)
                last = str(error)
            except Exception:
                logger.exception("%s: watching it failed; beginning anew", self.app.name)
            if self._clock.monotonic() - began_s > LONGEST_WAIT_S:
                wait_s, last = 0.2, ""
            self._ended.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _listen(self) -> None:
        """Hear events until the connection ends."""
        with connection.connect(self._url) as client, client.pubsub() as channel:
            # kombu publishes on PREFIX/DATABASE.celeryev/ROUTING.KEY, before 4.0 without the key.
            database = client.connection_pool.connection_kwargs.get("db") or 0
            name = f"{self.app.key_prefix}/{database}.celeryev"
            channel.psubscribe(f"{name}/*")
            channel.subscribe(name)
            listening = False
            asked_s = heard_s = self._clock.monotonic()
            while not self._ended.is_set():
                message = channel.get_message(timeout=1.0)
                now_s = self._clock.monotonic()
                if message is not None:
                    if not listening:  # the broker has confirmed it
                        listening = True
                        self._connects += 1
                    heard_s = now_s
                    self._heard_s = self._clock.now()
                    if message["type"] in ("message", "pmessage"):
                        self.fold.message(message["data"], self._heard_s)
                if now_s - heard_s > DEAF_AFTER_S:
                    raise redis.ConnectionError(f"no sign of life for {DEAF_AFTER_S:.0f} s")
                if now_s - asked_s > PING_EVERY_S:
                    asked_s = now_s
                    channel.ping()

    def _look(self) -> None:
        """Look at the queues once a tick, and ask for pools once a minute."""
        layout = layout_of(self.app)
        with connection.connect(self._url) as client:
            broker = Broker(client, self._ours, self.app.name, layout)
            bindings = Bindings(client, layout)
            asked_s, asked = self._clock.monotonic(), Counter[tuple[str, int]]()
            while not self._ended.is_set():
                try:
                    names = self.app.queues or self._queues(bindings)
                    seen = broker.look(names, self._clock.now(), sent_s=self.fold.sent_s)
                except redis.RedisError as error:
                    self._keep(celery.blind(self._clock.now(), self._every_s, str(error)))
                    raise
                self._keep(celery.sight(seen, self._clock.now(), self._every_s))
                now_s = self._clock.monotonic()
                strange = self.fold.strange()
                asked = Counter({one: asked[one] for one in strange})
                again = any(asked[one] < ASK_POOLS_TIMES for one in strange)
                if self.app.events and (again or now_s - asked_s >= ASK_POOLS_EVERY_S):
                    asked_s = now_s
                    asked.update(strange)
                    self._ask_pools()
                self._ended.wait(self._every_s)

    def _queues(self, bindings: Bindings) -> list[str]:
        """Return the queues that are bound, and those that workers say they take from."""
        taken = {queue for worker in self.fold.workers.values() for queue in worker.queues}
        return sorted(taken | set(bindings.queues()))

    def _keep(self, sight: bytes) -> None:
        self._ours.set(keys.celery(self.app.name, "look"), sight, ex=86_400)
        self._ours.zadd(keys.CELERY_APPS, {self.app.name: self._clock.now()})

    def _ask_pools(self) -> None:
        """Ask workers how many processes they have, and what queues they take from."""
        options: dict[str, Any] = {
            "socket_timeout": 5, "socket_connect_timeout": 2,
            "sep": self.app.separator, "priority_steps": list(self.app.priority_steps),
        }  # fmt: skip
        if self.app.key_prefix:
            options["global_keyprefix"] = self.app.key_prefix
        with Celery(broker=self.app.broker.get_secret_value(), set_as_current=False) as asking:
            asking.conf.broker_transport_options = options
            with asking.connection_for_write() as at:
                inspect = asking.control.inspect(timeout=ASK_POOLS_FOR_S, connection=at)
                stats: Any = inspect.stats() or {}
                queues: Any = inspect.active_queues() or {}
        self.fold.pools(
            {name: _processes(said) for name, said in stats.items()},
            {name: tuple(str(q["name"]) for q in said) for name, said in queues.items()},
        )


def _processes(stats: Any) -> int:
    pool = stats.get("pool") or {}
    return len(pool.get("processes") or ()) or int(pool.get("max-concurrency") or 0)
