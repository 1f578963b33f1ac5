"""Changes a server's settings, watches what comes of it, and takes back what makes things worse.

Only settings that advice knows and a reload is enough for: a wrong value of one that needs a
restart shows when the server does not come up again, so those are printed and never applied. By
ALTER SYSTEM and ``pg_reload_conf()``, checked in a new session. ``synchronous_commit`` is for one
role only: who sets it for all loses commits that nobody gave up.

::

    look at 3 windows ─► journal ─► ALTER SYSTEM, reload, check ─► look at 2 windows ─► kept
                                          │ not in force                   │ worse
                                          └────────► taken back ◄──────────┘
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import server as servers
from outrider.database import server_advice, watch
from outrider.database.journal import OPEN, Change
from outrider.errors import BadArgument, OutriderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.database.journal import Journal

# Beyond its two windows, for the reload and a slow server.
_GRACE_S = 60.0
# A reload reaches every process in a moment; a busy host takes longer.
_TRIES, _TRY_EVERY_S = 50, 0.1
# Set where no ALTER SYSTEM reaches.
_OVERRIDDEN = frozenset({"command line", "environment variable"})

_IN_FILE = sa.text("""
SELECT setting FROM pg_file_settings
WHERE name = :name AND sourcefile LIKE '%postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1
""")
_SOURCE = sa.text("SELECT source, sourcefile FROM pg_settings WHERE name = :name")
_OF_ROLE = sa.text("""
SELECT split_part(entry, '=', 2) FROM pg_roles,
  unnest(coalesce((SELECT setconfig FROM pg_db_role_setting
    WHERE setrole = pg_roles.oid AND setdatabase = 0), '{}')) AS entry
WHERE rolname = :role AND split_part(entry, '=', 1) = :name
""")
_IN_FORCE = sa.text("SELECT setting, unit FROM pg_settings WHERE name = :name")


class NotApplied(OutriderError):  # noqa: N818 - reads as the message it is
    """A setting was not applied, or was taken back; the text says why. Nothing is left changed."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to set, by whom, and what speaks for it."""

    name: str
    value: str
    by: str
    role: str | None = None
    evidence: dict[str, Any] | None = None


def checked(wish: Wish, setting: server_advice.Setting) -> None:
    """Let a wish pass that may be granted.

    Raises:
        NotApplied: it needs a restart, is not ours to set, or would have no effect.
    """
    if wish.name not in server_advice.NAMES:
        raise NotApplied(f"{wish.name} is not among what advice is given on; set it by hand.")
    if setting.needs_restart:
        raise NotApplied(
            f"{wish.name} needs a restart, and a wrong value of it can keep the server from"
            f" starting: it is never applied from here. By hand, at a quiet hour:"
            f" ALTER SYSTEM SET {wish.name} = '{wish.value}'; then restart the server."
        )
    if wish.name == "synchronous_commit" and wish.role is None:
        raise NotApplied(
            "synchronous_commit = off loses the last commits when the server's host fails: it is"
            " set for one role that may lose them, with --role, never for all."
        )
    if setting.source in _OVERRIDDEN and wish.role is None:
        raise NotApplied(
            f"{wish.name} is set on the server's {setting.source}, which wins over ALTER SYSTEM;"
            " change it there."
        )


def apply(
    engine: sa.Engine,
    journal: Journal,
    wish: Wish,
    *,
    now_s: Callable[[], float],
    watched: watch.Watch,
) -> Change:
    """Set one value, watch two windows, keep it or take it back. Blocks for all windows.

    Raises:
        NotApplied: the server refuses, the value did not come into force, or it made things worse.
        BadArgument: another change is in flight, or the role may not do this.
        redis.RedisError: Redis is away, and nothing was changed.
    """
    settle_overdue(engine, journal, now_s())
    with _asking(engine) as connection:
        setting = server_advice.settings(connection).get(wish.name)
        if setting is None:
            raise NotApplied(f"this server has no setting {wish.name}.")
        checked(wish, setting)
        before = _held(connection, wish.name, wish.role)
    change = Change(
        wish.name, wish.value, wish.by, now_s(), before, setting.shown(), wish.role,
        judge_by_s=now_s() + watched.lasts_s + _GRACE_S, evidence=wish.evidence or {},
    )  # fmt: skip
    journal.begin(change)
    try:
        looked = watched.before()
        _set(engine, change, wish.value)
        if wish.role is None:
            _check(engine, setting, wish.value)
        change = journal.settle(change, "watching")
        verdict = watched.after(looked)
    except BaseException as error:
        # A server that is away now is mended by whoever looks next (settle_overdue).
        with contextlib.suppress(sa.exc.SQLAlchemyError, servers.DatabaseUnavailable):
            _take_back(engine, journal, change, "failed", why=str(error) or type(error).__name__)
        if isinstance(error, sa.exc.SQLAlchemyError):
            raise NotApplied(_refused(error, wish.name)) from None
        raise
    if verdict.is_worse:
        _take_back(engine, journal, change, "rolled back", watched=verdict.plain())
        raise NotApplied(f"{wish.name} = {wish.value} was taken back: {verdict.words()}")
    return journal.settle(change, "kept", watched=verdict.plain())


def undo(
    engine: sa.Engine, journal: Journal, name: str | None = None, role: str | None = None
) -> Change:
    """Put back what the newest change in force (of ``name``, or of any) replaced.

    Raises:
        NotApplied: there is none, or the server refuses.
        redis.RedisError: Redis is away.
    """
    change = journal.last(name, role)
    if change is None:
        raise NotApplied(f"no change of {name or 'this server'} is in force; nothing to undo.")
    try:
        return _take_back(engine, journal, change, "undone")
    except sa.exc.SQLAlchemyError as error:
        raise NotApplied(_refused(error, change.name)) from None


def settle_overdue(engine: sa.Engine, journal: Journal, now_s: float) -> list[Change]:
    """Take back changes that nobody judged in time: their watcher died. Return them."""
    return [
        _take_back(engine, journal, change, "rolled back", why="nobody judged it in time")
        for change in journal.changes()
        if change.state in OPEN and now_s > change.judge_by_s
    ]


def _take_back(
    engine: sa.Engine, journal: Journal, change: Change, state: str, **evidence: Any
) -> Change:
    _set(engine, change, change.before)
    return journal.settle(change, state, **evidence)


def _set(engine: sa.Engine, change: Change, value: str | None) -> None:
    """Set or reset a value. Both statements take literals only, and run outside transactions."""
    with _asking(engine) as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
        verb = f"RESET {quote(change.name)}"
        if value is not None:
            literal = value.replace("'", "''")
            verb = f"SET {quote(change.name)} = '{literal}'"
        target = "SYSTEM" if change.role is None else f"ROLE {quote(change.role)}"
        connection.execute(sa.text(f"ALTER {target} {verb}".replace(":", "\\:")))
        if change.role is None:
            connection.execute(sa.text("SELECT pg_reload_conf()"))


def _held(connection: sa.Connection, name: str, role: str | None) -> str | None:
    """Return what ALTER SYSTEM (or ALTER ROLE) holds for a setting; None when it holds nothing.

    Raises:
        BadArgument: it can't be seen, so that it could not be put back.
    """
    if role is not None:
        if not connection.execute(
            sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}
        ).scalar():
            raise BadArgument(f"there is no role {role!r} on this server.")
        held: str | None = connection.execute(_OF_ROLE, {"role": role, "name": name}).scalar()
        return held
    try:
        found: str | None = connection.execute(_IN_FILE, {"name": name}).scalar()
    except sa.exc.ProgrammingError:  # for superusers only, unless granted
        source, file = connection.execute(_SOURCE, {"name": name}).one()
        if source == "configuration file" and file is None:
            raise BadArgument(
                f"this role can't see where {name} was set, so it could not be put back;"
                " GRANT pg_read_all_settings to it."
            ) from None
        in_auto = file is not None and file.endswith("postgresql.auto.conf")
        return server_advice.settings(connection)[name].shown() if in_auto else None
    return found


def _check(engine: sa.Engine, before: server_advice.Setting, wanted: str) -> None:
    """Look in new sessions whether a value came into force; a reload takes a moment.

    Raises:
        NotApplied: it did not.
    """
    for _ in range(_TRIES):
        with _asking(engine) as connection:
            now = server_advice.settings(connection)[before.name]
            if now.is_set_to(wanted):
                return
            connection.execute(sa.text("SELECT pg_sleep(:s)"), {"s": _TRY_EVERY_S})
    raise NotApplied(
        f"{before.name} is still {now.shown()} after the reload: it is set for the database or the"
        " role, which wins, or the server's log says why not."
    )


def _refused(error: sa.exc.SQLAlchemyError, name: str) -> str:
    return (
        f"the server refuses: {servers.first_line(error)}. {name} was not changed; ALTER SYSTEM"
        " asks for a superuser, or (PostgreSQL 15 and later) GRANT ALTER SYSTEM ON PARAMETER and"
        " EXECUTE on pg_reload_conf(): say its address in [database] admin_url."
    )


def _asking(engine: sa.Engine) -> sa.Connection:
    try:
        return engine.connect()
    except sa.exc.OperationalError as error:
        raise servers.DatabaseUnavailable(
            f"the database at {servers.shown(engine.url)} does not answer"
            f" ({servers.first_line(error)}); nothing was changed."
        ) from None
