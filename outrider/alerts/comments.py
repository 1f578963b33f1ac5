"""What people said and did about alerts, newest first, under ``or:alerts:comments`` (a list).

::

    {"at_s": 1795454660.0, "alert": "alpha|bot is down|bot.canary.up", "author": "ann",
     "did": "acknowledged", "text": "restarting it"}

``did`` is ``commented``, ``acknowledged``, ``snoozed`` or ``took it back``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys

if TYPE_CHECKING:
    import redis

KEPT = 2_000
LONGEST = 2_000


def add(
    client: redis.Redis, alert: str, *, author: str, text: str, now_s: float, did: str = "commented"
) -> None:
    """Keep what somebody said of an alert, named as ``labels.key`` names it."""
    said = {"at_s": now_s, "alert": alert, "author": author, "did": did, "text": text[:LONGEST]}
    client.lpush(keys.COMMENTS, json.dumps(said))
    client.ltrim(keys.COMMENTS, 0, KEPT - 1)


def read(client: redis.Redis, most: int = 100, *, alert: str | None = None) -> list[dict[str, Any]]:
    """Return the newest comments, of one alert if it is named."""
    last = KEPT - 1 if alert else most - 1
    stored = cast("list[bytes]", client.lrange(keys.COMMENTS, 0, last))
    found = [json.loads(text) for text in stored]
    return [said for said in found if alert in (None, said["alert"])][:most]
