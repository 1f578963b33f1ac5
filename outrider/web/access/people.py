"""Who somebody is: by the token, by name and password, or by the cookie of an earlier time.

The token belongs to the stack and may everything; programs send it as Bearer, or as the password of
Basic. People with passwords stand in the settings, each with a role. A role is looked up at each
request, never believed from a cookie: who was taken out of the settings is out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http import cookies
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from outrider.errors import BadArgument
from outrider.web.access import passwords
from outrider.web.access.oidc import Oidc
from outrider.web.access.roles import OPERATOR, VIEWER
from outrider.web.access.sessions import Session, Signer, same

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from outrider.clock import Clock
    from outrider.web.access.attempts import Attempts
    from outrider.web.access.door import Door, User
    from outrider.web.access.oidc import Begun
    from outrider.web.access.roles import Role

SHORTEST_TOKEN = 16
TOKEN_HOLDER = "token"  # noqa: S105 - a name, no secret
# Programs send their password with each request; a right one is not hashed again for this long.
REMEMBERED_S = 300.0
_MOST_REMEMBERED = 64
# A look at a password takes 64 MiB: one at a time, and a short queue.
_MOST_WAITING = 8


def check(token: str) -> None:
    """Refuse a token that could be guessed.

    Raises:
        BadArgument: it is too short.
    """
    if len(token) < SHORTEST_TOKEN:
        raise BadArgument(
            f"the dashboard's token has {len(token)} characters; at least {SHORTEST_TOKEN} "
            "are needed: take secrets.token_urlsafe(32)."
        )


class TooOften(Exception):  # noqa: N818 - it is an answer, not a fault
    """Wrong too often, or too many at once; worth another try after ``retry_after_s``."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"Wait for {max(1, round(retry_after_s))} s.")
        self.retry_after_s = retry_after_s


class Wrong(Exception):  # noqa: N818 - as TooOften
    """What was offered is not right; ``name`` is who it was said to be."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. ``csrf`` is None where no browser is between: then none is asked for."""

    name: str
    role: Role
    how: str
    csrf: str | None = None
    session: Session | None = None


class People:
    """Recognises persons. ``token`` may be empty when there are users."""

    def __init__(self, door: Door, *, token: str, attempts: Attempts, clock: Clock) -> None:
        self._users = {user.name: user for user in door.users}
        self._session_s = door.session_s
        self._token = token
        self._attempts, self._clock = attempts, clock
        # From the token, so that a restart logs nobody out; without one there is nothing to keep.
        self.signer = Signer(token.encode() if token else secrets.token_bytes(32))
        self._memory_key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._looking = anyio.CapacityLimiter(1)
        self.oidc = Oidc(door.oidc, clock) if door.oidc else None

    @property
    def has_passwords(self) -> bool:
        """Whether anyone has a name and a password."""
        return bool(self._users)

    @property
    def has_token(self) -> bool:
        """Whether there is a token to come in by."""
        return bool(self._token)

    def by_cookie(self, value: str) -> Person | None:
        """Return whose session a cookie holds, unless it is forged, over, or nobody's now."""
        session = self.signer.claimed(value)
        if session is None or session.expires_s <= self._clock.now():
            return None
        role, proof = self._standing(session)
        if role is None or not self.signer.believes(value, proof):
            return None
        csrf = self.signer.form_token(session.id)
        return Person(session.user, role, session.how, csrf, session)

    def cookie_of(self, person: Person) -> tuple[Session, str]:
        """Begin a session for a person; return it with its cookie's value."""
        session = self.signer.new(
            person.name, person.how, now_s=self._clock.now(), lasts_s=self._session_s
        )
        return session, self.signer.write(session, self._standing(session)[1])

    async def by_authorization(self, value: str, address: str) -> Person:
        """Return who a program is.

        Raises:
            Wrong: nobody we know.
            TooOften: its address was wrong too often.
        """
        scheme, _, rest = value.partition(" ")
        if scheme.lower() == "bearer":
            return self.by_token(rest.strip(), address)
        if scheme.lower() != "basic":
            raise Wrong("")
        try:
            pair = base64.b64decode(rest, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise Wrong("") from None
        name, _, password = pair.partition(":")
        person = await self.by_password(name, password, address)
        # A browser that was told a password in its own dialog sends it with every request.
        return Person(
            person.name, person.role, person.how, self.signer.form_token(f"basic|{person.name}")
        )

    def by_token(self, offered: str, address: str) -> Person:
        """Return the holder of the token. Raises Wrong, TooOften."""
        self._begin(address)
        if not self._token or not same(offered, self._token):
            raise Wrong(TOKEN_HOLDER)
        self._attempts.take_back(address)
        return Person(TOKEN_HOLDER, OPERATOR, "token")

    async def by_password(self, name: str, password: str, address: str) -> Person:
        """Return who has this name and password; the token is a password too. Raises as above."""
        if self._token and same(password, self._token):
            return self.by_token(password, address)
        self._begin(address)
        user = self._users.get(name)
        if not self._users or not await self._is_right(user, password, address):
            raise Wrong(name)
        assert user is not None
        self._attempts.take_back(address)
        return Person(user.name, user.role, "password")

    async def _is_right(self, user: User | None, password: str, address: str) -> bool:
        seal = self._seal(user, password)
        if self._right.get(seal, 0.0) > self._clock.monotonic():
            return True
        if self._looking.statistics().tasks_waiting >= _MOST_WAITING:
            self._attempts.take_back(address)  # nobody looked at it
            raise TooOften(1.0)
        known = user.password_hash if user else None
        right = await anyio.to_thread.run_sync(
            passwords.fits, password, known, limiter=self._looking
        )
        if right:
            self._right[seal] = self._clock.monotonic() + REMEMBERED_S
            while len(self._right) > _MOST_REMEMBERED:
                self._right.popitem(last=False)
        return right

    def _seal(self, user: User | None, password: str) -> bytes:
        known = f"{user.name}\0{user.password_hash}" if user else ""
        said = f"{known}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._memory_key, said, "sha256")

    async def by_provider(self, begun: Begun, code: str, address: str) -> Person:
        """Return who the provider says it is. Raises TooOften, and what ``Oidc.finish`` does."""
        assert self.oidc is not None
        self._begin(address)
        name, role = await self.oidc.finish(begun, code)
        self._attempts.take_back(address)
        return Person(name, role, f"oidc:{role}")

    def _begin(self, address: str) -> None:
        if wait_s := self._attempts.blocked_s(address):
            raise TooOften(wait_s)
        self._attempts.count(address)

    def _standing(self, session: Session) -> tuple[Role | None, str]:
        """Return the role that a session has now, and what it is known by."""
        if session.how == "token":
            return (OPERATOR if self._token else None), self._token
        for role in (OPERATOR, VIEWER):
            if session.how == f"oidc:{role}":  # signed by us, so that the role is the provider's
                return (role, self.oidc.proof) if self.oidc else (None, "")
        user = self._users.get(session.user)
        return (user.role, user.password_hash) if user else (None, "")


def cookie(headers: Headers, name: str) -> str | None:
    """Return the value of a cookie, or None where there is none or the header is no cookies."""
    jar = cookies.SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except cookies.CookieError:
        return None
    held = jar.get(name)
    return held.value if held else None
