"""What each driver is told when it connects: name, patience, limits, prepared statements.

The limits are the server's own, sent with the connection, so that they hold however a session is
used. What the URL or the caller says is left as it is.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from outrider.metrics import database as reach

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outrider.database.presets import Preset

# A bot that can't connect in this time says so, rather than hang at its start.
CONNECT_TIMEOUT_S = 10
# A firewall that drops idle connections in silence is noticed after 30 + 3 x 10 s.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# The server ends a statement at its limit; who has no answer so long after lost the network.
_GRACE_S = 5.0


def connect_args(
    url: sa.URL,
    preset: Preset,
    name: str,
    given: dict[str, Any],
    *,
    behind_pooler: bool = False,
) -> dict[str, Any]:
    """Return a driver's arguments: ours where neither the URL nor the caller says otherwise."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": preset.lock_timeout_s, **given}
    if url.drivername == "postgresql+asyncpg":
        return _asyncpg(preset, name, {**url.query, **given}, given, behind_pooler=behind_pooler)
    if not reach.is_libpq(url):
        return given
    said = {**url.query, **given}
    patience_s = preset.statement_timeout_s + _GRACE_S
    ours: dict[str, Any] = {
        "application_name": name,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": round(patience_s * 1000),
        **_KEEPALIVES,
    }
    if url.drivername == "postgresql+psycopg":
        ours["prepare_threshold"] = None if behind_pooler else preset.prepare_after
    # PgBouncer refuses options before 1.20, and shares a session among clients in any version.
    options = said.get("options") if behind_pooler else server_options(preset, said.get("options"))
    return {
        **{key: value for key, value in ours.items() if key not in said},
        **given,
        **({} if options is None else {"options": options}),
    }


def server_options(preset: Preset, given: Any) -> str:
    """Return the settings of a session; later ones win, and an empty text asks for none."""
    if given == "":
        return ""
    ours = [f"-c {name}={value}" for name, value in _limits(preset).items()]
    return " ".join([*ours, *([str(given)] if given else [])])


def _asyncpg(
    preset: Preset,
    name: str,
    said: dict[str, Any],
    given: dict[str, Any],
    *,
    behind_pooler: bool,
) -> dict[str, Any]:
    limits = {} if behind_pooler else _limits(preset)
    ours: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": preset.statement_timeout_s + _GRACE_S,
        "prepared_statement_cache_size": 0 if behind_pooler else preset.prepared_most,
    }
    if behind_pooler:
        ours["statement_cache_size"] = 0
        ours["prepared_statement_name_func"] = lambda: f"outrider_{uuid.uuid4().hex}"
    settings = {"application_name": name, **limits, **given.get("server_settings", {})}
    return {
        **{key: value for key, value in ours.items() if key not in said},
        **given,
        "server_settings": settings,
    }


def _limits(preset: Preset) -> dict[str, str]:
    limits = {
        "statement_timeout": preset.statement_timeout_s,
        "lock_timeout": preset.lock_timeout_s,
        "idle_in_transaction_session_timeout": preset.idle_in_transaction_timeout_s,
    }
    return {name: str(round(seconds * 1000)) for name, seconds in limits.items()}
