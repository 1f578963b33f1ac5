"""Logging in by OpenID Connect: authorization code with PKCE, state and nonce, through Authlib.

::

    /login/oidc ──303──► provider ──303──► /login/oidc/callback ──page──► where one wanted to go
      state, nonce, verifier kept here        code ─► ID token, its signature and claims checked
      a cookie binds them to this browser

What is kept of a login that began lives for ten minutes in this process: after a restart one begins
again. The cookie is SameSite=Lax, since the way back is a link from the provider's site; it opens
nothing by itself. The role is decided at login, by a claim, and is part of the session; a change of
``[dashboard.oidc]`` ends all sessions of this kind. Loaded when the first login begins.
"""

from __future__ import annotations

import fnmatch
import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.errors import OutriderError
from outrider.web.access.roles import OPERATOR, VIEWER

if TYPE_CHECKING:
    from outrider.clock import Clock
    from outrider.settings_web import OidcSettings
    from outrider.web.access.roles import Role

BEGIN, CALLBACK = "/login/oidc", "/login/oidc/callback"
WITHIN_S = 600.0
_MOST_BEGUN = 1_000
_TIMEOUT_S = 5.0
# What a provider says of itself is asked again after this; its keys also when one is unknown.
_DISCOVERY_S = 3_600.0
_KEYS_S = 60.0
_LEEWAY_S = 30
# Signatures by a key that only the provider has: never "none", never a shared secret.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


class ProviderFailed(OutriderError):  # noqa: N818 - as the next
    """The provider does not answer, or not as OpenID Connect has it."""

    permanent = False


class LoginRefused(OutriderError):  # noqa: N818 - reads as the message it is
    """What came back proves nobody, or nobody who may come in."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that was sent to the provider. ``binding`` is what the browser's cookie holds."""

    state: str
    nonce: str
    verifier: str
    binding: str
    onward: str
    at_s: float


class Oidc:
    """Logins by one provider."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._begun: OrderedDict[str, Begun] = OrderedDict()
        self._known: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None

    @property
    def proof(self) -> str:
        """What sessions by this provider are known by: they end when the settings change."""
        said = self._settings.model_dump_json(exclude={"client_secret"})
        return hashlib.sha256(said.encode()).hexdigest()

    async def begin(self, onward: str) -> tuple[str, Begun]:
        """Return where to send a browser, and what to bind it to. Raises ProviderFailed."""
        known = await self._discovered()
        made = Begun(
            state=secrets.token_urlsafe(32), nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48), binding=secrets.token_urlsafe(32),
            onward=onward, at_s=self._clock.monotonic(),
        )  # fmt: skip
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                known["authorization_endpoint"], state=made.state, nonce=made.nonce,
                code_verifier=made.verifier,
            )  # fmt: skip
        self._begun[made.state] = made
        while len(self._begun) > _MOST_BEGUN:
            self._begun.popitem(last=False)
        return str(url), made

    def take(self, state: str, binding: str) -> Begun:
        """Return the login that this browser began; it can be taken once. Raises LoginRefused."""
        begun = self._begun.pop(state, None)
        if (
            begun is None
            or self._clock.monotonic() - begun.at_s > WITHIN_S
            or not secrets.compare_digest(begun.binding.encode(), binding.encode())
        ):
            raise LoginRefused("This login was not begun in this browser, or too long ago.")
        return begun

    async def finish(self, begun: Begun, code: str) -> tuple[str, Role]:
        """Return who it is, and their role.

        Raises:
            ProviderFailed: it gave no ID token.
            LoginRefused: the token is not what it must be, or its owner may not come in.
        """
        import httpx2
        from authlib.integrations.base_client import OAuthError

        known = await self._discovered()
        try:
            async with self._client() as client:
                token = await client.fetch_token(
                    known["token_endpoint"], code=code, code_verifier=begun.verifier
                )
        except OAuthError as error:
            raise LoginRefused(f"The provider refuses the login: {error.error}.") from None
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise _failed(self._settings.issuer, error) from None
        id_token = token.get("id_token") if isinstance(token, dict) else None
        if not isinstance(id_token, str):
            raise ProviderFailed(f"{self._settings.issuer} gave no ID token.")
        return self._judged(await self._claims(id_token, begun.nonce, token))

    async def _claims(self, id_token: str, nonce: str, token: dict[str, Any]) -> dict[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        for fresh in (False, True):  # a provider may have changed its keys since we asked
            try:
                keys = KeySet.import_key_set(await self._key_set(fresh=fresh))  # type: ignore[arg-type]
                decoded = jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
                break
            except (JoseError, ValueError) as error:
                if fresh:
                    text = f"The ID token is not signed by the provider ({type(error).__name__})."
                    raise LoginRefused(text) from None
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            options={
                "iss": {"essential": True, "value": self._settings.issuer},
                "aud": {"essential": True, "value": self._settings.client_id},
            },
            params={
                "nonce": nonce,
                "client_id": self._settings.client_id,
                "access_token": token.get("access_token"),
            },
        )
        try:
            claims.validate(now=int(self._clock.now()), leeway=_LEEWAY_S)
        except Exception as error:  # noqa: BLE001 - of several families, each a refusal
            raise LoginRefused(f"The ID token does not hold: {error}.") from None
        return dict(claims)

    def _judged(self, claims: dict[str, Any]) -> tuple[str, Role]:
        """Return the name and the role that claims give."""
        decides, names = self._settings.claim, self._settings.name_claim
        if "email" in (decides, names) and claims.get("email_verified") is False:
            raise LoginRefused("The provider has not verified this e-mail address.")
        name = str(claims.get(names) or claims["sub"])[:120]
        found = claims.get(decides)
        values = [str(value) for value in (found if isinstance(found, list) else [found]) if value]
        for role, patterns in (
            (OPERATOR, self._settings.operators),
            (VIEWER, self._settings.viewers),
        ):
            if any(fnmatch.fnmatchcase(value, pattern) for value in values for pattern in patterns):
                return name, role
        raise LoginRefused(f"{name} may not come in: no value of {decides} is in the settings.")

    def _client(self) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        secret = self._settings.client_secret
        return AsyncOAuth2Client(
            self._settings.client_id,
            secret.get_secret_value() if secret else None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=" ".join(self._settings.scopes),
            redirect_uri=self._settings.address.rstrip("/") + CALLBACK,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
        )

    async def _discovered(self) -> dict[str, Any]:
        now_s = self._clock.monotonic()
        if self._known is None or now_s - self._known[0] > _DISCOVERY_S:
            issuer = self._settings.issuer
            found = await self._get(issuer.rstrip("/") + "/.well-known/openid-configuration")
            if found.get("issuer") != issuer:
                raise ProviderFailed(f"{issuer} calls itself {str(found.get('issuer'))[:200]!r}.")
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if not isinstance(found.get(name), str):
                    raise ProviderFailed(f"{issuer} does not tell its {name}.")
            self._known = now_s, found
        return self._known[1]

    async def _key_set(self, *, fresh: bool) -> dict[str, Any]:
        now_s = self._clock.monotonic()
        if self._keys is None or (fresh and now_s - self._keys[0] > _KEYS_S):
            self._keys = now_s, await self._get((await self._discovered())["jwks_uri"])
        return self._keys[1]

    async def _get(self, url: str) -> dict[str, Any]:
        import httpx2

        try:
            async with self._client() as client:
                answer = await client.request("GET", url, withhold_token=True)
                answer.raise_for_status()
                found = answer.json()
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise _failed(self._settings.issuer, error) from None
        if not isinstance(found, dict):
            raise ProviderFailed(f"{self._settings.issuer} answers something that is no object.")
        return found


def _failed(issuer: str, error: Exception) -> ProviderFailed:
    return ProviderFailed(f"{issuer} can't be asked ({type(error).__name__}); try again later.")
