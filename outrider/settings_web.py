"""The settings of the stack's HTTP servers: where they listen, and who may see and do what."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from outrider.settings_base import Seconds, Table, one_or_more


def checked_root(path: str) -> str:
    """Return a path prefix such as ``/ops``, without a slash at its end.

    >>> checked_root("/ops/"), checked_root("/")
    ('/ops', '')

    Raises:
        ValueError: it is none.
    """
    shown = path.rstrip("/")
    if shown and (not shown.startswith("/") or "//" in shown or set(shown) & set("\"'<>?#\\;% \t")):
        raise ValueError(f"{path!r} is no path; write it like /ops.")
    return shown


def checked_hash(given: SecretStr) -> SecretStr:
    """Return what ``outrider dashboard password`` made. Raises ValueError without showing it."""
    text = given.get_secret_value()
    if not text.startswith("$argon2id$") or text.count("$") != 5:  # noqa: PLR2004
        raise ValueError("this is no argon2id hash; make one with `outrider dashboard password`.")
    return given


def checked_origin(origin: str) -> str:
    """Return an origin in lower case, as browsers send it. Raises ValueError when it is none."""
    scheme, separator, host = origin.partition("://")
    if not separator or scheme not in ("http", "https") or not host or set(host) & set("/?#@ "):
        raise ValueError(f"{origin!r} is no origin; write it like https://ops.example.com.")
    return origin.lower()


class ServerSettings(Table):
    """An HTTP server of the stack."""

    enabled: bool = Field(default=True, description="start it with `outrider up`")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65535, description="0 finds a free one")


class UserSettings(Table):
    """Somebody who may open the dashboard: ``[[dashboard.user]]``."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$", description="what the records call them"
    )
    role: Literal["viewer", "operator"] = Field(
        "viewer", description="a viewer looks; an operator may restart, scale, acknowledge, silence"
    )
    password_hash: Annotated[SecretStr, AfterValidator(checked_hash)] = Field(
        description="what `outrider dashboard password` prints (argon2id)"
    )


def checked_provider(url: str) -> str:
    """Return an address of the web that may be trusted: HTTPS, or on this machine."""
    scheme, _, rest = url.rstrip("/").partition("://")
    host = rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]
    if (scheme == "https" and host) or (scheme == "http" and host in ("127.0.0.1", "localhost")):
        return url
    raise ValueError(f"{url!r} is not to be trusted; write it like https://id.example.com.")


class OidcSettings(Table):
    """Logging in by OpenID Connect: ``[dashboard.oidc]``. Needs ``outrider[oidc]``."""

    issuer: Annotated[str, AfterValidator(checked_provider)] = Field(
        description="the provider, exactly as it calls itself"
    )
    client_id: str = Field(min_length=1, description="what the provider calls this dashboard")
    client_secret: SecretStr | None = Field(
        None, description="the client's secret; none for a public client"
    )
    address: Annotated[str, AfterValidator(checked_provider)] = Field(
        description="the dashboard as browsers see it, root path included; the provider must allow"
        " this address followed by /login/oidc/callback"
    )
    scopes: tuple[str, ...] = Field(("openid", "email"), description="what is asked for")
    claim: str = Field(
        "email",
        min_length=1,
        description="the claim that decides: a text, or a list such as groups",
    )
    operators: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="values of the claim that make an operator; * stands for anything"
    )
    viewers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="values of the claim that make a viewer"
    )
    name_claim: str = Field("email", min_length=1, description="the claim that records name")

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> OidcSettings:
        if not self.operators and not self.viewers:
            raise ValueError("nobody could log in; name operators or viewers.")
        if "openid" not in self.scopes:
            raise ValueError("scopes must hold openid.")
        return self


class DashboardSettings(ServerSettings):
    """The dashboard, and who may open it: ``[dashboard]``."""

    root_path: Annotated[str, AfterValidator(checked_root)] = Field(
        "", description="the path that a proxy puts it under, such as /ops"
    )
    tls_cert: Path | None = Field(None, description="certificate chain (PEM): it speaks HTTPS")
    tls_key: Path | None = Field(None, description="the certificate's private key (PEM)")
    proxies: tuple[str, ...] = Field(
        (), description="addresses of proxies whose X-Forwarded-For and -Proto are believed"
    )
    origins: tuple[Annotated[str, AfterValidator(checked_origin)], ...] = Field(
        (), description="what browsers see as its origin, where a proxy does not pass on Host"
    )
    session_s: Seconds = Field(
        43_200.0, ge=60, le=2_592_000, description="how long one stays logged in"
    )
    user: Annotated[tuple[UserSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="who may log in with a password, besides the token"
    )
    oidc: OidcSettings | None = Field(None, description="log in by OpenID Connect")

    @model_validator(mode="after")
    def _whole(self) -> DashboardSettings:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key need each other; give both.")
        names = [user.name for user in self.user]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two users are called {', '.join(sorted(twice))}; rename one.")
        if "token" in names:
            raise ValueError("a user can't be called token: the records call its holder so.")
        return self
