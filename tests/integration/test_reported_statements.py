"""Statements of a real bot's engine, from its queries to ``outrider db queries``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from outrider.cli.db import db
from outrider.database import budget, reporter
from outrider.database import engine as engines
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def engine(postgres_url: str, counted_anew: None) -> Iterator[sa.Engine]:
    made = engines.create_engine(postgres_url)
    yield made
    made.dispose()


def test_what_bots_ran_leads_the_list(
    engine: sa.Engine, postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.connect() as session:
        for number in range(30):
            session.execute(sa.text(f"SELECT {number} AS told, 's3cret' AS value"))
        session.execute(sa.text("SELECT pg_sleep(:s)"), {"s": 0.05})
    with engine.connect() as session, pytest.raises(sa.exc.ProgrammingError):
        session.execute(sa.text("SELECT * FROM nowhere_at_all"))
    bot = reporter.Reporter(valkey_url)
    bot.close()
    assert bot.report()
    assert not bot.report()  # nothing is new

    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)

    def listed(by: str) -> list[dict[str, object]]:
        said = CliRunner().invoke(
            db, ["queries", "--json", "--most", "1000", "--by", by, "--url", postgres_url]
        )
        assert said.exit_code == 0, said.output
        assert "s3cret" not in said.output
        return [each for each in json.loads(said.output)["statements"] if each["of_bots"]]

    by_calls = listed("calls")
    assert (by_calls[0]["text"], by_calls[0]["calls"], by_calls[0]["rows"]) == (
        "SELECT $1 AS told, $2 AS value", 30, 30,
    )  # fmt: skip
    slowest = listed("p99")[0]
    assert "pg_sleep" in str(slowest["text"])
    assert float(str(slowest["p99_s"])) >= 0.05 * 0.98
    assert "pg_sleep" in str(listed("total")[0]["text"])
    assert [each["errors"] for each in by_calls if "nowhere" in str(each["text"])] == [1]

    with connection.connect(valkey_url) as client:
        server = budget.server_of(engine.url)
        for what in ("", "texts"):
            assert (
                b"s3cret"
                not in repr(client.hgetall(keys.database_statements(server, what))).encode()
            )
