"""Advice on the server of the settings: what to change, what each change measured, applying one."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import apply as applying
from outrider.database import budget, pgtune, probes, server_advice, trial, watch
from outrider.database import server as servers
from outrider.database.journal import Journal
from outrider.errors import BadArgument, OutriderError
from outrider.metrics import database as reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from outrider.database.journal import Change
    from outrider.settings import DatabaseSettings

_NOT_TRIED = trial.Outcome("not measured", "not tried")
COMMITS = "synchronous_commit"
_COMMITS_WHY = "a commit does not wait for the disk"
_COMMITS_COST = (
    "the last commits (some tenths of a second) are lost when the server's host fails; for one"
    " role that may lose them, never for all"
)


def engine_of(settings: DatabaseSettings, *, admin: bool = False) -> sa.Engine:
    """Return an engine for looks at the server, or as the role that may change it.

    Raises:
        BadArgument: no URL is set, or it is no PostgreSQL's.
    """
    url = (settings.admin_url if admin else None) or settings.url
    if url is None:
        raise BadArgument("no database is named: set [database] url, or give --url.")
    parsed = reach.parse(url.get_secret_value())
    if parsed.get_backend_name() != "postgresql":
        raise BadArgument(
            f"{parsed.get_backend_name()} has no server to advise on; this is for PostgreSQL."
        )
    return reach.observer(parsed.set(drivername="postgresql+psycopg"))


def advise(
    settings: DatabaseSettings,
    engine: sa.Engine,
    *,
    statements: Sequence[str] = (),
    measure: bool = True,
    pairs: int = trial.PAIRS,
    only: str | None = None,
) -> dict[str, Any]:
    """Return the machine, what to change with what it measured, and warnings, as plain data.

    With ``only`` nothing but that setting is tried. Blocks while it measures.

    Raises:
        DatabaseUnavailable: the server does not answer, or refuses us.
        BadArgument: it is too old, its memory is not known, or a statement can't be tried.
    """
    try:
        with engine.connect() as connection:
            facts, now = server_advice.facts(connection), server_advice.settings(connection)
            tried = list(statements) or (probes.of_database(connection) if measure else [])
    except sa.exc.OperationalError as error:
        raise servers.DatabaseUnavailable(
            f"the database at {servers.shown(engine.url)} does not answer"
            f" ({servers.first_line(error)}); mend [database] url."
        ) from None
    machine = server_advice.machine(
        facts, engine.url, connections=int(now["max_connections"].setting),
        memory_bytes=settings.server_memory, cores=settings.server_cores,
        workload=settings.workload, storage=settings.storage,
    )  # fmt: skip

    def asked(name: str) -> bool:
        return measure and only in {None, name}

    rows = [
        server_advice.shown(each)
        | _told(_tried(engine, each, tried, pairs) if asked(each.name) else _NOT_TRIED)
        for each in server_advice.advise(machine, now)
    ]
    if now[COMMITS].setting != "off" and not facts.in_recovery:
        outcome = trial.of_commits(engine, pairs=pairs) if asked(COMMITS) else _NOT_TRIED
        rows.append(
            {
                "name": COMMITS, "now": now[COMMITS].setting, "wanted": "off", "how": "role",
                "why": _COMMITS_WHY, "cost": _COMMITS_COST, "context": now[COMMITS].context,
            } | _told(outcome)
        )  # fmt: skip
    return {
        "server": servers.shown(engine.url),
        "machine": asdict(machine),
        "is_replica": facts.in_recovery,
        "statements": tried,
        "statements_are": "yours" if statements else "made from the largest tables",
        "advice": rows,
        "pending_restart": sorted(name for name, each in now.items() if each.pending_restart),
        "warnings": pgtune.warnings(machine),
    }


def apply_one(
    settings: DatabaseSettings,
    client: redis.Redis,
    name: str,
    *,
    by: str,
    role: str | None = None,
    accept_loss: bool = False,
    anyway: bool = False,
    statements: Sequence[str] = (),
    window_s: float = watch.WINDOW_S,
    pairs: int = trial.PAIRS,
) -> Change:
    """Try one advised setting; where it gains, apply and watch it. Blocks for all windows.

    What can't be tried in a session is applied and watched; what measured no gain is not applied,
    unless ``anyway``.

    Raises:
        NotApplied: nothing gained, refused, or taken back since it made things worse.
        BadArgument: nothing of that name is advised, or the server can't be advised.
        DatabaseUnavailable: the server is away.
    """
    if name == COMMITS and not accept_loss:
        raise BadArgument(
            "synchronous_commit = off loses the last commits of a role when the server's host"
            " fails; say accept_loss (--accept-loss) and the role, if that role's may be lost."
        )
    engine, admin = engine_of(settings), engine_of(settings, admin=True)
    journal = Journal(client, budget.server_of(engine.url))
    told = advise(settings, engine, statements=statements, pairs=pairs, only=name)
    advice = {row["name"]: row for row in told["advice"]}
    if told["is_replica"]:
        raise applying.NotApplied("this server is a replica: apply to the primary by name.")
    if name not in advice:
        raise BadArgument(
            f"{name} is not advised here; advised are: {', '.join(advice) or 'no changes'}."
        )
    row = advice[name]
    if row["how"] != "restart" and row["verdict"] in {"no gain", "worse"} and not anyway:
        raise applying.NotApplied(f"{name} = {row['wanted']}, not applied: {row['measured']}.")
    tried = told["statements"]
    watched = watch.Watch(
        engine,
        window_s=window_s,
        probe=(lambda: {"ms of the statements": trial.total_ms(engine, tried)}) if tried else None,
    )
    wish = applying.Wish(name, row["wanted"], by, role, {"measured": row["measured"]})
    return applying.apply(admin, journal, wish, now_s=time.time, watched=watched)


def undo(
    settings: DatabaseSettings,
    client: redis.Redis,
    name: str | None = None,
    role: str | None = None,
) -> Change:
    """Take back the newest change in force, of ``name`` or of any.

    Raises:
        NotApplied: there is none, or the server refuses.
    """
    admin = engine_of(settings, admin=True)
    return applying.undo(admin, journal_of(settings, client), name, role)


def journal_of(settings: DatabaseSettings, client: redis.Redis) -> Journal:
    """Return the record of changes of the settings' server."""
    return Journal(client, budget.server_of(engine_of(settings).url))


def report(
    settings: DatabaseSettings, client: redis.Redis, now_s: float, *, measure: bool = False
) -> dict[str, Any] | None:
    """Return advice and what was changed, for the stored report; None without a PostgreSQL.

    Takes back changes whose watcher died. A server that is away is a part of the report.
    """
    try:
        engine = engine_of(settings)
    except BadArgument:
        return None
    try:
        journal = journal_of(settings, client)
        applying.settle_overdue(engine_of(settings, admin=True), journal, now_s)
        told = advise(settings, engine, measure=measure)
        return {**told, "changes": [asdict(change) for change in journal.changes()[:20]]}
    except (OutriderError, sa.exc.SQLAlchemyError) as error:
        said = error if isinstance(error, OutriderError) else servers.first_line(error)
        return {"error": str(said)}


def with_url(settings: DatabaseSettings, url: str | None, **given: Any) -> DatabaseSettings:
    """Return settings with what a caller said in place of theirs."""
    from pydantic import SecretStr

    said = {name: value for name, value in given.items() if value is not None}
    if url is not None:
        said["url"] = SecretStr(url)
    return settings.model_copy(update=said)


def _tried(
    engine: sa.Engine, each: server_advice.Advice, statements: Sequence[str], pairs: int
) -> trial.Outcome:
    if each.how == "restart":
        return trial.Outcome("not measured", "needs a restart; printed, never applied")
    return trial.of_setting(engine, each.name, (each.now, each.wanted), statements, pairs=pairs)


def _told(outcome: trial.Outcome) -> dict[str, Any]:
    return {"verdict": outcome.verdict, "measured": outcome.words(), "trial": asdict(outcome)}
