"""The story of docs/how-to/mend-a-database.md: a leak, an exhausted pool, a missing index."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from outrider.cli.main import main
from outrider.database import engine as engines
from outrider.database import holds, reporter, tally

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def engine(postgres_url: str, counted_anew: None) -> Iterator[sa.Engine]:
    made = engines.create_engine(postgres_url, pool_size=2, max_overflow=0, pool_timeout=0.1)
    with made.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS orders"))
        connection.execute(
            sa.text(
                "CREATE TABLE orders AS SELECT n AS id, n % 5000 AS customer, repeat('x', 100) AS"
                " note FROM generate_series(1, 50000) n"
            )
        )
    with made.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text("VACUUM ANALYZE orders"))
    yield made
    with made.begin() as connection:
        connection.execute(sa.text("DROP TABLE orders"))
    made.dispose()


def test_a_leak_is_found_with_its_place_and_falls_to_nothing_when_mended(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "LEAK_AFTER_S", -1.0)
    monkeypatch.setattr(holds, "LEAK_AFTER_UNKNOWN_S", -1.0)
    monkeypatch.setattr(holds, "LEAK_FACTOR", -1.0)
    forgotten = engine.connect()
    assert tally.readings()["db.pool.leaked"] == 1
    (leak,) = [each for each in tally.findings() if each.kind == "leak"]
    assert "test_database_story.py" in leak.text
    forgotten.close()
    assert tally.readings()["db.pool.leaked"] == 0


def test_an_exhausted_pool_is_seen_and_ends_when_holds_become_short(engine: sa.Engine) -> None:
    with engine.connect(), engine.connect():
        assert tally.readings()["db.pool.used_ratio"] == 1
        with pytest.raises(sa.exc.TimeoutError):
            engine.connect()
    assert tally.readings()["db.pool.timeouts_total"] == 1
    threads = [threading.Thread(target=lambda: engine.connect().close()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.readings()["db.pool.timeouts_total"] == 1


def asked(postgres_url: str, *arguments: str) -> Any:
    said = CliRunner().invoke(main, ["db", *arguments, "--json", "--url", postgres_url])
    assert said.exit_code == 0, said.output
    return json.loads(said.output)


def test_a_missing_index_is_found_from_what_bots_ran_and_built(
    engine: sa.Engine, postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    with engine.connect() as connection:
        for customer in range(20):
            connection.execute(
                sa.text("SELECT * FROM orders WHERE customer = :customer"), {"customer": customer}
            )
    bot = reporter.Reporter(valkey_url)
    bot.close()
    assert bot.report()

    texts = [each["text"] for each in asked(postgres_url, "queries")["statements"]]
    assert any("FROM orders WHERE customer" in text for text in texts)
    (built,) = asked(postgres_url, "indexes", "--build")["built"]
    assert built["kept"]
    assert asked(postgres_url, "indexes")["missing"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [({"database": "none"}, "CREATE DATABASE"), ({"username": "stranger"}, "CREATE ROLE")],
)
def test_a_refusal_is_bad_input_with_the_next_step(
    postgres_url: str, change: dict[str, str], words: str
) -> None:
    url = sa.make_url(postgres_url)
    url = url.set(
        database=change.get("database", url.database),
        username=change.get("username", url.username),
    )
    said = CliRunner().invoke(
        main, ["db", "queries", "--url", url.render_as_string(hide_password=False)]
    )
    assert said.exit_code == 2, said.output
    assert words in " ".join(said.output.split())
