"""Advice, apply, undo and doctor on a real server that each test may change."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis
import sqlalchemy as sa
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy.pool import NullPool

from outrider.cli.main import main
from outrider.database import advising, doctor, trial, watch
from outrider.database.apply import NotApplied, Wish, apply, settle_overdue
from outrider.database.journal import Change, Journal
from outrider.database.server import DatabaseUnavailable
from outrider.errors import BadArgument
from outrider.metrics import database as reach
from outrider.settings import DatabaseSettings, Settings
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_S = 1_800_000_000.0
GIB = 1 << 30


@pytest.fixture(scope="module")
def server(postgres_binaries: postgres.Binaries) -> Iterator[postgres.Postgres]:
    with postgres.Postgres(postgres_binaries) as made:
        made.run(
            "CREATE TABLE seen AS SELECT i AS id, i % 977 AS kind, md5(i::text) AS word"
            " FROM generate_series(1, 20000) i",
            "ALTER TABLE seen ADD PRIMARY KEY (id)",
            f"GRANT SELECT ON seen TO {postgres.ROLE}",
            "ANALYZE seen",
            "CREATE ROLE bot_log LOGIN",
            database=postgres.DATABASE,
        )
        yield made


@pytest.fixture
def client(valkey_url: str) -> redis.Redis:
    made = redis.Redis.from_url(valkey_url)
    made.flushdb()
    return made


@pytest.fixture
def settings(server: postgres.Postgres) -> Iterator[DatabaseSettings]:
    yield DatabaseSettings(
        url=SecretStr(server.url), admin_url=SecretStr(server.superuser_url),
        server_memory=8 * GIB, server_cores=2,
    )  # fmt: skip
    server.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


class Quiet(watch.Watch):
    """A watch of windows without time, which says what it is told."""

    def __init__(self, *, worse: bool = False) -> None:
        self.worse = worse

    @property
    def lasts_s(self) -> float:
        return 0.0

    def before(self) -> list[watch.Look]:
        return [{"ms": 1.0}]

    def after(self, before: Any) -> watch.Verdict:
        return watch.judge(before, [{"ms": 9.0 if self.worse else 1.0}])


def show(server: postgres.Postgres, name: str, url: str | None = None) -> str:
    engine = sa.create_engine(reach.parse(url or server.url), poolclass=NullPool)
    with engine.connect() as connection:
        return str(connection.execute(sa.text(f"SHOW {name}")).scalar_one())


def admin(settings: DatabaseSettings) -> sa.Engine:
    return advising.engine_of(settings, admin=True)


def do(
    settings: DatabaseSettings, client: redis.Redis, name: str, value: str, **more: Any
) -> Change:
    wish = Wish(name, value, "ann", more.pop("role", None))
    watched = more.pop("watched", Quiet())
    journal = advising.journal_of(settings, client)
    return apply(admin(settings), journal, wish, now_s=lambda: NOW_S, watched=watched)


def test_advice_is_measured_and_changes_nothing(
    server: postgres.Postgres, settings: DatabaseSettings
) -> None:
    before = show(server, "random_page_cost")
    told = advising.advise(settings, advising.engine_of(settings), pairs=8)
    rows = {row["name"]: row for row in told["advice"]}

    assert rows["shared_buffers"]["how"] == "restart"
    assert rows["shared_buffers"]["verdict"] == "not measured"
    assert rows["work_mem"]["trial"]["pairs"] == 8
    assert rows["synchronous_commit"]["how"] == "role"
    assert rows["synchronous_commit"]["trial"]["pairs"] == 8
    assert rows["random_page_cost"]["verdict"] in {"gain", "no gain", "worse"}
    assert len(told["statements"]) >= 4
    assert show(server, "random_page_cost") == before


def test_a_spill_to_disk_makes_work_mem_a_gain_and_equal_plans_make_none(
    settings: DatabaseSettings,
) -> None:
    engine = advising.engine_of(settings)
    spills = "SELECT kind, word FROM seen ORDER BY word, kind"

    same = trial.of_setting(engine, "random_page_cost", ("4", "1.1"), ["SELECT 1"], pairs=8)
    assert (same.verdict, same.ratio) == ("no gain", None)
    rows = trial.of_setting(engine, "work_mem", ("64kB", "64MB"), [spills], pairs=8)
    assert rows.ratio is not None
    assert rows.pairs == 8


@pytest.mark.parametrize(
    "statement", ["DELETE FROM seen", "SELECT 1; DROP TABLE seen", "SELEC 1", "SELECT * FROM nix"]
)
def test_a_statement_that_does_more_than_read_is_refused(
    server: postgres.Postgres, settings: DatabaseSettings, statement: str
) -> None:
    owner = reach.observer(reach.parse(server.superuser_url))
    with pytest.raises(BadArgument, match="can't be tried"):
        trial.of_setting(owner, "work_mem", ("4MB", "8MB"), [statement])

    with owner.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM seen")).scalar() == 20000


def test_a_percent_sign_and_a_statement_too_slow_are_no_harm(settings: DatabaseSettings) -> None:
    engine = advising.engine_of(settings)
    like = "SELECT count(*) FROM seen WHERE word LIKE 'a%'"

    assert trial.of_setting(engine, "work_mem", ("4MB", "8MB"), [like], pairs=8).pairs == 8
    slow = trial.of_setting(engine, "work_mem", ("4MB", "8MB"), ["SELECT pg_sleep(60)"])
    assert slow.verdict == "not measured"


def test_an_applied_value_is_in_force_journalled_and_undone(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    change = do(settings, client, "work_mem", "12MB")

    assert (change.state, change.value_before, change.before) == ("kept", "4MB", None)
    assert show(server, "work_mem") == "12MB"
    assert do(settings, client, "work_mem", "16MB").before == "12MB"
    assert advising.undo(settings, client).state == "undone"
    assert show(server, "work_mem") == "12MB"
    advising.undo(settings, client)
    assert show(server, "work_mem") == "4MB"
    with pytest.raises(NotApplied, match="nothing to undo"):
        advising.undo(settings, client)
    journal = advising.journal_of(settings, client).changes()
    assert [(each.by, each.after, each.state) for each in journal] == [
        ("ann", "16MB", "undone"), ("ann", "12MB", "undone"),
    ]  # fmt: skip


def test_what_made_things_worse_is_taken_back(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    with pytest.raises(NotApplied, match="taken back: ms rose from 1 to 9"):
        do(settings, client, "work_mem", "12MB", watched=Quiet(worse=True))

    assert show(server, "work_mem") == "4MB"
    assert advising.journal_of(settings, client).changes()[0].state == "rolled back"


def test_what_needs_a_restart_or_a_role_is_refused(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    for name, value, why in (
        ("wal_buffers", "16MB", "restart"),
        ("shared_buffers", "1GB", "restart"),
        ("synchronous_commit", "off", "one role"),
        ("fsync", "off", "no setting|not among"),
    ):
        with pytest.raises(NotApplied, match=why):
            do(settings, client, name, value)
    assert advising.journal_of(settings, client).changes() == []
    assert show(server, "synchronous_commit") == "on"


def test_a_value_the_server_refuses_leaves_nothing_behind(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    with pytest.raises(NotApplied, match="the server refuses"):
        do(settings, client, "random_page_cost", "cheap")

    assert advising.journal_of(settings, client).changes()[0].state == "failed"
    assert show(server, "random_page_cost") == "4"


def test_a_role_that_may_not_change_the_server_is_told_what_it_needs(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    ordinary = settings.model_copy(update={"admin_url": None})
    with pytest.raises((NotApplied, BadArgument), match="GRANT"):
        do(ordinary, client, "work_mem", "12MB")
    assert show(server, "work_mem") == "4MB"


def test_durability_is_given_up_for_one_role_only_and_taken_back(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    log_url = server.url.replace(f"//{postgres.ROLE}@", "//bot_log@")
    do(settings, client, "synchronous_commit", "off", role="bot_log")

    assert show(server, "synchronous_commit", log_url) == "off"
    assert show(server, "synchronous_commit") == "on"
    advising.undo(settings, client)
    assert show(server, "synchronous_commit", log_url) == "on"
    with pytest.raises(BadArgument, match="no role"):
        do(settings, client, "synchronous_commit", "off", role="nobody_here")
    with pytest.raises(BadArgument, match="accept"):
        advising.apply_one(settings, client, "synchronous_commit", by="ann", role="bot_log")


def test_one_change_is_in_flight_and_one_whose_watcher_died_is_taken_back(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    journal = advising.journal_of(settings, client)

    class Dying(Quiet):
        def after(self, before: Any) -> watch.Verdict:
            with pytest.raises(BadArgument, match="one change at a time"):
                do(settings, client, "jit", "off")
            kept.append(journal.changes()[0])
            return super().after(before)

    kept: list[Change] = []
    do(settings, client, "work_mem", "12MB", watched=Dying())
    journal.settle(kept[0], "watching")  # as its watcher left it when it died

    assert settle_overdue(admin(settings), journal, NOW_S + 30) == []
    assert show(server, "work_mem") == "12MB"
    assert [each.state for each in settle_overdue(admin(settings), journal, NOW_S + 61)] == [
        "rolled back"
    ]
    assert show(server, "work_mem") == "4MB"


def test_two_who_apply_at_once_do_not_both(settings: DatabaseSettings, client: redis.Redis) -> None:
    journal = advising.journal_of(settings, client)
    refused, gate = [], threading.Barrier(4)

    def one() -> None:
        gate.wait()
        try:
            Journal(client, "s").begin(Change("jit", "off", "ann", NOW_S))
        except BadArgument:
            refused.append(1)

    del journal
    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert len(Journal(client, "s").changes()) == 1


def test_without_a_gain_a_named_setting_is_not_applied(
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis
) -> None:
    with pytest.raises(NotApplied, match="no gain: the plans of 1 statements are the same"):
        advising.apply_one(
            settings, client, "effective_cache_size", by="ann", statements=["SELECT 1"]
        )
    change = advising.apply_one(
        settings, client, "effective_cache_size", by="ann", statements=["SELECT 1"],
        anyway=True, window_s=0.01,
    )  # fmt: skip
    assert (change.state, show(server, "effective_cache_size")) == ("kept", "6GB")


def test_the_watch_counts_what_a_transaction_costs(
    server: postgres.Postgres, settings: DatabaseSettings
) -> None:
    busy = sa.create_engine(reach.parse(server.url), poolclass=NullPool)

    def transactions(_s: float) -> None:
        for _ in range(30):
            with busy.connect() as connection:
                connection.execute(sa.text("SELECT count(*) FROM seen"))

    made = watch.Watch(advising.engine_of(settings), window_s=1, sleep=transactions)
    looks = made.before()

    assert len(looks) == watch.BEFORE
    assert any("temp bytes per transaction" in look for look in looks)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda url: url.replace("/fleet", "/nowhere"), "does not exist"),
        (lambda url: url.replace("//bot@", "//stranger@"), "does not exist"),
        (lambda _: "postgresql://bot@127.0.0.1:1/fleet", "refused"),
    ],
)
def test_a_wrong_address_is_a_clear_error_and_nothing_is_applied(
    server: postgres.Postgres,
    settings: DatabaseSettings,
    client: redis.Redis,
    spoil: Any,
    says: str,
) -> None:
    wrong = advising.with_url(settings, spoil(server.url))
    with pytest.raises(DatabaseUnavailable, match=says):
        advising.apply_one(wrong, client, "work_mem", by="ann")

    found = doctor.examine(Settings(), advising.engine_of(wrong))
    assert [(check.name, check.state) for check in found] == [("server", "failed")]
    assert says in found[0].detail


def states(settings: DatabaseSettings, **more: Any) -> dict[str, doctor.Check]:
    fleet = Settings.model_validate({"database": {"url": "x", **more}})
    found = doctor.examine(fleet, advising.engine_of(settings))
    return {check.name: check for check in found}


def test_the_doctor_finds_a_healthy_server_well(settings: DatabaseSettings) -> None:
    found = states(settings)

    assert not [check for check in found.values() if check.state == "failed"]
    assert found["pooler between"].detail == "none"


def test_the_doctor_names_superusers_idle_transactions_and_poolers(
    server: postgres.Postgres, settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "IDLE_IN_TRANSACTION_S", 0.0)
    root = sa.create_engine(
        reach.parse(server.superuser_url), poolclass=NullPool,
        connect_args={"application_name": "pgbouncer"},
    )  # fmt: skip
    with root.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        seen = advising.with_url(settings, server.superuser_url)
        found = states(seen)

    assert found["role"].state == "failed"
    assert "pgbouncer" in found["superusers"].detail
    assert found["poolers"].state == "warning"
    assert found["idle in transaction"].state == "failed"
    assert "pgbouncer (pid" in found["idle in transaction"].detail


def test_the_doctor_says_when_the_fleet_does_not_fit(settings: DatabaseSettings) -> None:
    bots = {f"bot{n}": {"entry": "m:f", "instances": 50} for n in range(3)}
    fleet = Settings.model_validate({"bots": bots, "database": {"url": "x"}})
    found = {check.name: check for check in doctor.examine(fleet, advising.engine_of(settings))}

    assert found["pools"].state == "failed"


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    return CliRunner().invoke(main, ["db", *arguments])


def test_the_commands_say_it_with_exit_codes(  # noqa: PLR0917 - fixtures
    server: postgres.Postgres, settings: DatabaseSettings, client: redis.Redis, valkey_url: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any,
) -> None:  # fmt: skip
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_DATABASE__ADMIN_URL", server.superuser_url)

    def do_(*arguments: str) -> Any:
        return run(*arguments, monkeypatch=monkeypatch, tmp_path=tmp_path)

    told = do_("advise", "--url", server.url, "--memory", "8GiB", "--no-measure", "--json")
    assert told.exit_code == 0, told.output
    assert {row["name"] for row in json.loads(told.stdout)["advice"]} >= {"work_mem", "jit"}
    common = ("advise", "--url", server.url, "--memory", "8GiB", "--yes")
    made = do_(*common, "--apply", "maintenance_work_mem", "--window", "10ms")
    assert (made.exit_code, "kept" in made.stdout) == (0, True), made.output
    assert show(server, "maintenance_work_mem") == "512MB"
    shown = do_("advise", "--url", server.url, "--journal", "--json")
    assert json.loads(shown.stdout)[0]["name"] == "maintenance_work_mem"
    undone = do_("advise", "--url", server.url, "--undo", "--yes")
    assert (undone.exit_code, "undone" in undone.stdout) == (0, True)
    assert show(server, "maintenance_work_mem") == "64MB"
    assert do_(*common, "--apply", "shared_buffers").exit_code == 1
    assert do_(*common, "--apply", "nonsense").exit_code == 2
    assert do_(*common, "--apply", "synchronous_commit", "--role", "bot_log").exit_code == 2
    assert do_("advise", "--url", "postgresql://x@127.0.0.1:1/y").exit_code == 3
    assert do_("advise", "--url", "sqlite:///x.db").exit_code == 2
    assert do_("doctor", "--url", server.url, "--json").exit_code == 0
    assert do_("doctor", "--url", server.superuser_url).exit_code == 1
    assert do_("doctor", "--url", "postgresql://x@127.0.0.1:1/y").exit_code == 3
