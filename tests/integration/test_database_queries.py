"""Slow statements, missing indexes and blocked sessions on a real PostgreSQL."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.pool import NullPool

from outrider.cli.db import db
from outrider.database import (
    bloat,
    explain,
    health,
    index_advice,
    index_build,
    index_health,
    locks,
    plan_findings,
    workload,
)
from outrider.database.index_advice import Asked
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 20_000
TABLES = f"""
DROP SCHEMA IF EXISTS queries CASCADE;
CREATE SCHEMA queries;
CREATE TABLE queries.talk
  (id int PRIMARY KEY, chat int, state text, doc jsonb, at timestamptz, body text);
INSERT INTO queries.talk SELECT n, n % 2000, CASE WHEN n % 100 = 0 THEN 'new' ELSE 'done' END,
  jsonb_build_object('k', n), '2025-01-01'::timestamptz + n * interval '1 minute', repeat('x', 200)
  FROM generate_series(1, {ROWS}) n;
CREATE INDEX talk_at ON queries.talk (at);
CREATE TABLE queries.few (id int, name text);
INSERT INTO queries.few SELECT n, 'n' || n FROM generate_series(1, 50) n;
VACUUM ANALYZE queries.talk, queries.few
"""
BY_CHAT = "SELECT * FROM talk WHERE chat = $1"


@pytest.fixture(scope="module")
def address(postgres_url: str) -> sa.URL:
    url = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")
    return url.update_query_dict({"options": "-c search_path=queries,public"})


@pytest.fixture
def engine(address: sa.URL) -> Iterator[sa.Engine]:
    found = sa.create_engine(address, poolclass=NullPool)
    with found.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in TABLES.split(";\n"):
            explain.run(connection, statement)
    yield found
    with found.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA queries CASCADE"))


def proposed(engine: sa.Engine, *texts: str, **how: Any) -> list[str]:
    advice = index_advice.advise(engine, [Asked(text) for text in texts], hypothetical=False, **how)
    return [proposal.ddl for proposal in advice.proposals]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (BY_CHAT, '("chat")'),
        ("SELECT * FROM queries.talk WHERE chat = 7", '("chat")'),
        ("SELECT id FROM talk WHERE doc->>'k' = $1", "((\"doc\" ->> 'k'))"),
        ("SELECT id FROM talk WHERE state = 'new'", "WHERE \"state\" = 'new'"),
        ("UPDATE talk SET state = 'x' WHERE chat = $1", '("chat")'),
    ],
)
def test_a_missing_index_is_proposed(engine: sa.Engine, text: str, wanted: str) -> None:
    (ddl,) = proposed(engine, text)
    assert ddl.startswith('CREATE INDEX CONCURRENTLY ON "queries"."talk" (')
    assert wanted in ddl


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM talk WHERE id = $1",
        "SELECT * FROM talk WHERE at > $1 ORDER BY at LIMIT 5",
        "SELECT * FROM talk WHERE state = 'done'",
        "SELECT * FROM few WHERE name = 'n5'",
        "SELECT count(*) FROM talk",
        "SELECT id FROM talk WHERE to_char(at, 'YYYY') = '1999'",  # not immutable
    ],
)
def test_nothing_is_proposed_where_nothing_is_missing(engine: sa.Engine, text: str) -> None:
    assert proposed(engine, text) == []


def test_one_index_serves_several_statements(engine: sa.Engine) -> None:
    (ddl,) = proposed(engine, BY_CHAT, "SELECT * FROM talk WHERE chat = $1 AND id > 5")
    assert '("chat")' in ddl


def test_advice_leaves_nothing_behind(engine: sa.Engine) -> None:
    count = sa.text("SELECT count(*) FROM pg_class WHERE relname LIKE 'outrider%'")
    tables = sa.text("SELECT count(*) FROM pg_class WHERE relname = 'talk'")
    proposed(engine, BY_CHAT, "SELECT FROM nowhere", "SELECT 1; DROP TABLE talk", "nonsense")
    with engine.connect() as connection:
        assert connection.execute(count).scalar() == 0
        assert connection.execute(tables).scalar() == 1


def test_what_can_not_be_judged_is_said(engine: sa.Engine) -> None:
    bad = ["SELECT * FROM talk, nowhere WHERE chat = 1", "SELECT 1; DROP TABLE talk", "nonsense"]
    advice = index_advice.advise(engine, [Asked(text) for text in bad])
    assert advice.proposals == ()
    assert [text for text, _ in advice.skipped] == bad


def test_a_sample_is_enough_for_a_large_table(engine: sa.Engine) -> None:
    (ddl,) = proposed(engine, BY_CHAT, most_rows=5000)
    assert '("chat")' in ddl


def test_statistics_serve_where_nothing_may_be_copied(engine: sa.Engine) -> None:
    advice = index_advice.advise(engine, [Asked(BY_CHAT)], hypothetical=False, copies=False)
    (found,) = advice.proposals
    assert '("chat")' in found.ddl
    assert found.confidence.startswith("low")


def test_an_index_that_costs_more_than_it_saves_is_not_proposed(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for _ in range(3):
            connection.execute(sa.text("UPDATE talk SET chat = chat + 0, body = body || 'y'"))
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    rarely = Asked(BY_CHAT, calls_per_s=1e-9, mean_s=0.002)
    often = Asked(BY_CHAT, calls_per_s=100.0, mean_s=0.002)
    assert index_advice.advise(engine, [rarely], hypothetical=False).proposals == ()
    assert index_advice.advise(engine, [often], hypothetical=False).proposals != ()


def indexes(engine: sa.Engine) -> list[str]:
    names = sa.text("SELECT indexname FROM pg_indexes WHERE schemaname = 'queries'")
    with engine.connect() as connection:
        return list(connection.execute(names).scalars())


def test_a_built_index_stays_if_it_helps_and_goes_if_not(engine: sa.Engine) -> None:
    (good,) = index_advice.advise(engine, [Asked(BY_CHAT)], hypothetical=False).proposals
    built = index_build.build(engine, good)
    assert (built.kept, built.name in indexes(engine)) == (True, True)
    assert index_build.build(engine, good).reason == "it is there already."

    useless = index_build.build(engine, good, statements=["SELECT count(*) FROM talk"])
    assert useless.kept  # there already: an index that somebody has is not ours to drop
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        explain.run(connection, f'DROP INDEX queries."{built.name}"')
    useless = index_build.build(engine, good, statements=["SELECT count(*) FROM few"])
    assert (useless.kept, useless.name in indexes(engine)) == (False, False)


def test_a_plan_is_read_into_findings(engine: sa.Engine) -> None:
    statement = explain.read("SELECT * FROM talk WHERE chat = 7")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        seen = plan_findings.of(explain.analysed(connection, statement))
    assert [each.code for each in seen] == ["seq_scan_filters"]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM talk",
        "WITH gone AS (DELETE FROM talk RETURNING 1) SELECT * FROM gone",
        "SELECT * FROM talk FOR UPDATE",
        "SELECT pg_sleep(0.01)",
        "SELECT nextval('x')",
        BY_CHAT,
    ],
)
def test_only_a_harmless_select_is_run(engine: sa.Engine, text: str) -> None:
    with (
        engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
        pytest.raises(explain.Unexplainable),
    ):
        explain.analysed(connection, explain.read(text))


def test_a_run_ends_at_its_timeout(engine: sa.Engine) -> None:
    slow = explain.read("SELECT count(*) FROM talk a, talk b WHERE a.body < b.body")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        with pytest.raises(explain.Unexplainable, match="statement timeout"):
            explain.analysed(connection, slow, timeout_s=0.05)
        assert explain.run(connection, "SHOW transaction_read_only").scalar() == "off"


def test_who_blocks_whom_is_shown(engine: sa.Engine) -> None:
    update = sa.text("UPDATE few SET name = 'x' WHERE id = 1")

    def wait() -> None:
        with engine.begin() as second:
            second.execute(update)

    alone = engine.execution_options(isolation_level="AUTOCOMMIT")  # a transaction sees no news
    with engine.begin() as first, alone.connect() as watcher:
        first.execute(update)
        pid = first.execute(sa.text("SELECT pg_backend_pid()")).scalar()
        waiter = threading.Thread(target=wait)
        waiter.start()
        blocks: list[locks.Block] = []
        while not blocks:
            blocks = locks.blocks(locks.sessions(watcher))
        first.rollback()
        waiter.join()
    assert (pid, 1) == (blocks[0].root.pid, len(blocks[0].waiting))
    assert "UPDATE few" in blocks[0].waiting[0].query


def test_idle_and_doubled_indexes_are_found(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE INDEX doubled ON talk (at)"))
        connection.execute(sa.text("CREATE INDEX idle ON talk (body, id)"))
        found = {each.name: each for each in index_health.look(connection)}
    assert found["talk_at"].code == "duplicate" or found["doubled"].code == "duplicate"
    assert found["idle"].code == "unused"
    assert found["idle"].ddl == 'DROP INDEX CONCURRENTLY "queries"."idle";'


def test_dead_rows_and_age_are_told(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM talk WHERE id % 2 = 0"))
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    with engine.connect() as connection:
        dead = bloat.tables(connection, least=1000)
        assert [each.name for each in dead] in ([], ["talk"])  # autovacuum may have been there
        assert 0 <= bloat.age(connection).used_ratio < 0.5


def test_the_report_is_plain_data(engine: sa.Engine) -> None:
    seen = workload.Workload((), {}, note="")
    report = health.build(engine, seen)
    assert report["note"] == ""
    assert json.loads(json.dumps(report)) == report


def run(address: sa.URL, *arguments: str) -> str:
    url = address.render_as_string(hide_password=False)
    result = CliRunner().invoke(db, [*arguments, "--url", url], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_show_it_all(engine: sa.Engine, address: sa.URL, tmp_path: Path) -> None:
    file = tmp_path / "slow.sql"
    file.write_text(
        "SELECT * FROM queries.talk WHERE chat = 7; SELECT * FROM queries.talk WHERE id = 5;"
        "SELECT * FROM nowhere;"
    )
    said = run(address, "indexes", "--sql", str(file))
    assert "3 statements were looked at; 1 index is missing." in said
    assert 'relation "nowhere" does not exist' in said
    assert 'ON "queries"."talk" ("chat");' in said
    plain = json.loads(run(address, "indexes", "--sql", str(file), "--build", "--json"))
    assert [each["kept"] for each in plain["built"]] == [True]

    assert "nobody is blocked." in run(address, "locks")
    assert json.loads(run(address, "locks", "--json"))["blocks"] == []
    assert "statement" in run(address, "queries")
    explained = run(
        address, "queries", "--analyze", "--explain", "SELECT * FROM queries.talk WHERE body = 'x'"
    )
    assert "seq_scan_filters" in explained


def test_hypothetical_indexes_are_asked_where_hypopg_is(
    postgres_binaries: postgres.Binaries,
) -> None:
    if not any(postgres_binaries.folder.parent.rglob("hypopg.so")):
        pytest.skip(f"HypoPG is not among {postgres_binaries.origin}: postgresql-15-hypopg has it")
    with postgres.Postgres(postgres_binaries, max_connections=20) as server:
        server.run("CREATE EXTENSION hypopg", database=postgres.DATABASE)
        url = sa.make_url(server.url).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, poolclass=NullPool)
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for statement in TABLES.split(";\n"):
                explain.run(connection, statement)
        asked = [Asked("SELECT * FROM queries.talk WHERE chat = $1")]
        (found,) = index_advice.advise(engine, asked).proposals
        assert found.confidence.startswith("high: planned by the server with hypothetical")
        assert found.size_bytes > 0
