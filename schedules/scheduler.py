"""Beat's scheduler: every tick once, whatever happens to beats and to Redis.

Celery's own scheduler sends twice when two beats run; RedBeat ends when Redis restarts. This one
holds a lease (see ``lease``), claims each tick before it sends it, and takes an unreachable Redis
as a reason to wait, not to leave.
"""

from __future__ import annotations

from typing import Any

import redis
from celery.beat import Scheduler
from celery.utils.log import get_logger
from kombu.exceptions import OperationalError

from outrider import settings as settings_module
from outrider.clock import SYSTEM, Clock, tick_at, tick_start
from outrider.schedules import beat
from outrider.schedules.lease import Lease
from outrider.store import connection

LOOK_EVERY_S = 1.0

logger = get_logger(__name__)


class LeasedScheduler(Scheduler):
    """Sends the entries of :func:`outrider.schedules.beat.table` and the app's own schedule."""

    def __init__(
        self, *args: Any, clock: Clock = SYSTEM, lease: Lease | None = None, **kwargs: Any
    ) -> None:
        self.entries: list[beat.Entry] = []
        self._clock = clock
        self._lease = lease
        self._leading = False
        self._away = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the table; called by Celery at the start."""
        self.entries = beat.table(settings_module.load())
        self.update_from_dict(dict(self.app.conf.beat_schedule or {}))
        if self._lease is None:
            self._lease = Lease(connection.connect(str(self.app.conf.broker_url)))

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due. Return the seconds until the next look."""
        try:
            wait_s = self._look()
        except (redis.RedisError, OperationalError, OSError) as error:
            if not self._away:
                logger.warning("beat: Redis is away (%s); going on when it is back", error)
            self._away = True
            return LOOK_EVERY_S
        if self._away:
            logger.warning("beat: Redis is back")
            self._away = False
        return wait_s

    def close(self) -> None:
        """Hand the lease over; called by Celery at the end."""
        try:
            if self._lease:
                self._lease.release()
        except redis.RedisError:
            logger.info("beat: could not hand the lease over; it ends by itself")
        super().close()

    def _look(self) -> float:
        assert self._lease is not None
        leading = self._lease.hold()
        if leading != self._leading:
            logger.info("beat: %s", "leading" if leading else "another beat leads")
            self._leading = leading
        if not leading:
            return LOOK_EVERY_S
        now_s = self._clock.now()
        for entry in self.entries:
            number = tick_at(now_s, entry.every_s)
            if self._lease.claim(entry.name, number, now_s, patient=entry.patient):
                self._send(entry, number)
        own_wait_s = self._send_own()
        next_s = min(tick_start(tick_at(now_s, e.every_s) + 1, e.every_s) for e in self.entries)
        return max(0.0, min(LOOK_EVERY_S, own_wait_s, next_s - self._clock.now()))

    def _send_own(self) -> float:
        """Send the application's own beat_schedule as Celery would."""
        return float(super().tick()) if self.schedule else LOOK_EVERY_S

    def _send(self, entry: beat.Entry, number: int) -> None:
        kwargs = dict(entry.kwargs)
        if entry.numbered:
            kwargs["tick"] = number
        assert self._lease is not None
        self.app.send_task(
            entry.task,
            kwargs=kwargs,
            expires=entry.every_s,
            headers={"outrider_tick": number, "outrider_token": self._lease.token},
            ignore_result=False,
        )
        logger.debug("beat: sent %s, tick %d", entry.task, number)
