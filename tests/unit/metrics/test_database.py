from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from outrider.errors import BadArgument
from outrider.metrics import database

if TYPE_CHECKING:
    from pathlib import Path

DOWN = {"db.server.up": 0.0}


def test_a_sqlite_file_tells_its_size(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()

    assert database.collect(f"sqlite:///{path}") == {
        "db.server.up": 1.0,
        "db.server.file_bytes": 8192.0,
        "db.server.pages": 2.0,
    }


def test_a_sqlite_file_that_is_gone_is_down_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"

    assert database.collect(f"sqlite:///{path}") == DOWN
    assert not path.exists()


def test_a_file_that_is_no_database_is_down(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    path.write_text("no database at all, but long enough to have a header of 100 bytes" * 9)

    assert database.collect(f"sqlite:///{path}") == DOWN


def test_an_engine_is_taken_as_it_is() -> None:
    engine = sa.create_engine("sqlite://")

    assert database.collect(engine) == {"db.server.up": 1.0, "db.server.pages": 0.0}
    engine.dispose()


def test_of_another_database_only_its_presence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sa.create_engine("sqlite://")
    monkeypatch.setattr(engine.dialect, "name", "oracle")

    assert database.collect(engine) == {"db.server.up": 1.0}
    engine.dispose()


def test_a_server_where_nobody_listens_is_down() -> None:
    assert database.collect("postgresql://bot@127.0.0.1:1/fleet") == DOWN


def test_a_url_that_can_not_be_used_is_an_error() -> None:
    with pytest.raises(BadArgument):
        database.collect("postgrsql://bot@db/fleet")


def test_an_observer_keeps_no_connection_and_is_made_once() -> None:
    one = database.observer("postgresql://bot@db.invalid/fleet")

    assert isinstance(one.pool, NullPool)
    assert one is database.observer("postgresql://bot@db.invalid/fleet")


def test_heroku_style_addresses_are_understood() -> None:
    assert database.parse("postgres://bot@db/fleet").drivername == "postgresql+psycopg"
    assert database.parse("postgresql+psycopg2://bot@db/fleet").drivername == "postgresql+psycopg2"
