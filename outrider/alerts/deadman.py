"""A ping to somebody outside, so that our own death is noticed: a dead man's switch.

It is sent at the end of the chain collect, analyse, evaluate, notify: whatever breaks on that way,
the ping stays away, and the service that waits for it (Healthchecks and its like) raises the alarm.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from outrider.alerts import guarded
from outrider.errors import DeliveryError
from outrider.store import keys

if TYPE_CHECKING:
    import redis

    from outrider.settings import Settings

logger = logging.getLogger("outrider.alerts")
# A ping may come a little early: ticks are no multiple of every interval, and a late one alarms.
_EARLY_RATIO = 0.2


def ping(client: redis.Redis, settings: Settings) -> bool:
    """Send a ping if one is due; True when it arrived. One that fails is tried at the next tick."""
    heartbeat = settings.notify.heartbeat
    if heartbeat is None:
        return False
    waits_ms = int(1000 * heartbeat.every_s * (1 - _EARLY_RATIO))
    if not client.set(keys.PING, "1", nx=True, px=waits_ms):
        return False
    try:
        guarded.post(
            heartbeat.url.get_secret_value(), b"", what="heartbeat", method="POST",
            allow_private=heartbeat.allow_private, content_type="text/plain",
        )  # fmt: skip
    except DeliveryError as error:
        client.delete(keys.PING)
        logger.warning("%s", error)
        return False
    return True
