"""How the door is set: who has which role and password, and what stands in front of it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider.errors import BadArgument

if TYPE_CHECKING:
    from outrider.settings_web import DashboardSettings, OidcSettings
    from outrider.web.access.roles import Role


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a password; only its argon2id hash is known here."""

    name: str
    role: Role
    password_hash: str


@dataclass(frozen=True, slots=True)
class Door:
    """What may be set. ``root_path`` is empty, or a path that a proxy puts everything under."""

    users: tuple[User, ...] = ()
    origins: frozenset[str] = frozenset()
    root_path: str = ""
    session_s: float = 43_200.0
    oidc: OidcSettings | None = None

    @property
    def has_names(self) -> bool:
        """Whether anybody but the token's holder can come in."""
        return bool(self.users) or self.oidc is not None

    def check(self) -> None:
        """Refuse what could only fail when somebody logs in. Raises BadArgument."""
        for library in ("authlib", "httpx2") if self.oidc else ():
            if importlib.util.find_spec(library) is None:
                raise BadArgument(
                    f"[dashboard.oidc] needs {library}, which is not installed: "
                    "pip install 'outrider[oidc]'."
                )

    @classmethod
    def of_settings(cls, settings: DashboardSettings) -> Door:
        """Return what ``[dashboard]`` says."""
        return cls(
            users=tuple(
                User(user.name, user.role, user.password_hash.get_secret_value())
                for user in settings.user
            ),
            origins=frozenset(settings.origins),
            root_path=settings.root_path,
            session_s=settings.session_s,
            oidc=settings.oidc,
        )
