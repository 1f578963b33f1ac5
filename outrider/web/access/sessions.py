"""Sessions: a signed cookie that says who, by what, and until when; nothing is stored of it.

``user.how.expires.id.signature``. The signature covers what the person proved themselves by (the
token, the password's hash), so that a changed password ends its sessions. Logging out is the one
thing that needs memory: the id is kept as revoked until the cookie would have expired, here and in
``or:web:revoked`` (a sorted set by expiry), for other dashboards and for ours after a restart. With
Redis away a logout holds in this process, and is written down with the next one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from outrider.store import keys

if TYPE_CHECKING:
    import redis

    from outrider.clock import Clock

# Other dashboards' logouts are heard of within this time.
REFRESH_S = 5.0
_PARTS = 5


@dataclass(frozen=True, slots=True)
class Session:
    """``how`` is ``token`` or ``password``; ``expires_s`` is seconds since 1970."""

    user: str
    how: str
    expires_s: int
    id: str


class Signer:
    """Makes and reads cookies. ``key`` signs; whoever has it can be anyone."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"outrider session 1", "sha256")
        # Two dashboards on one host share their cookies; a name of its own keeps both open.
        self.cookie = "outrider_" + hashlib.sha256(self._key).hexdigest()[:8]

    def new(self, user: str, how: str, *, now_s: float, lasts_s: float) -> Session:
        """Begin a session."""
        return Session(user, how, int(now_s + lasts_s), secrets.token_hex(16))

    def write(self, session: Session, proof: str) -> str:
        """Return the cookie's value; ``proof`` is what the person is known by."""
        user = base64.urlsafe_b64encode(session.user.encode()).decode().rstrip("=")
        said = f"{user}.{session.how}.{session.expires_s}.{session.id}"
        return f"{said}.{self._signature(said, proof)}"

    def claimed(self, value: str) -> Session | None:
        """Return what a cookie says of itself, not yet believed."""
        parts = value.split(".")
        if len(parts) != _PARTS or not parts[2].isascii() or not parts[2].isdigit():
            return None
        try:
            user = base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        return Session(user, parts[1], int(parts[2][:15]), parts[3])

    def believes(self, value: str, proof: str) -> bool:
        """Tell whether we wrote this cookie for this proof."""
        said, _, signature = value.rpartition(".")
        return same(signature, self._signature(said, proof))

    def form_token(self, session_id: str) -> str:
        """Return what a request that changes something must carry besides its cookie."""
        return hmac.digest(self._key, b"form|" + session_id.encode(), "sha256").hex()

    def _signature(self, said: str, proof: str) -> str:
        return hmac.digest(self._key, f"{said}|{proof}".encode(), "sha256").hex()


class Revoked:
    """The sessions that were ended before their time."""

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._until: dict[str, float] = {}
        self._unsaved: dict[str, float] = {}
        self._read_s = -REFRESH_S

    def __contains__(self, session: Session) -> bool:
        return session.id in self._until

    @property
    def is_old(self) -> bool:
        """Whether what other dashboards revoked should be read again."""
        return self._clock.monotonic() - self._read_s >= REFRESH_S

    def refresh(self) -> None:
        """Read what was revoked elsewhere, and write what could not be written. Blocks.

        Raises:
            redis.RedisError, OSError: Redis is away; what is known stays.
        """
        self._read_s = self._clock.monotonic()
        now_s = self._clock.now()
        unsaved = dict(self._unsaved)
        with self._client.pipeline(transaction=False) as pipe:
            if unsaved:
                cast("Any", pipe).zadd(keys.REVOKED, unsaved)
            pipe.zremrangebyscore(keys.REVOKED, "-inf", now_s)
            pipe.zrange(keys.REVOKED, 0, -1, withscores=True)
            found = cast("list[tuple[bytes, float]]", pipe.execute()[-1])
        for name in unsaved:
            self._unsaved.pop(name, None)
        kept = {name: until_s for name, until_s in self._until.items() if until_s > now_s}
        self._until = kept | {name.decode(): until_s for name, until_s in found}

    def add(self, session: Session) -> None:
        """End a session here at once; ``refresh`` tells the others."""
        self._until[session.id] = self._unsaved[session.id] = float(session.expires_s)


def same(offered: str, expected: str) -> bool:
    """Compare in constant time, whatever the texts hold."""
    return hmac.compare_digest(
        offered.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )
