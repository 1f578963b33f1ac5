"""The fleet's database: a SQLite file in the state folder, or what FLEET_DATABASE_URL names.

Every bot makes the schema when it starts, and several start at once: who comes second finds a
table already there, which is no error but the state that was wanted.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError

import outrider
from mybots import retry, whereabouts

# How long a bot tries to make the schema while others do the same.
SCHEMA_PATIENCE_S = 20.0

metadata = sa.MetaData()
players = sa.Table(
    "players",
    metadata,
    sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("right_answers", sa.Integer, nullable=False, default=0),
    sa.Column("wrong_answers", sa.Integer, nullable=False, default=0),
)
expenses = sa.Table(
    "expenses",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("cents", sa.Integer, nullable=False),
    sa.Column("category", sa.String(32), nullable=False),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Index("expenses_of_a_month", "user_id", "month"),
)
dialogues = sa.Table(
    "dialogues",
    metadata,
    sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("number", sa.String(13), nullable=False, default=""),
)
parcels = sa.Table(
    "parcels",
    metadata,
    sa.Column("user_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.String(13), primary_key=True),
    sa.Column("label", sa.String(64), nullable=False),
    sa.Column("added_at_s", sa.Float, nullable=False),
)
candles = sa.Table(
    "candles",
    metadata,
    sa.Column("symbol", sa.String(16), primary_key=True),
    sa.Column("start_s", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("open", sa.Float, nullable=False),
    sa.Column("high", sa.Float, nullable=False),
    sa.Column("low", sa.Float, nullable=False),
    sa.Column("close", sa.Float, nullable=False),
    sa.Column("rsi", sa.Float),
)


@functools.cache
def engine() -> sa.Engine:
    """Return this process's engine, its schema in place. Blocks; call it from a thread in async."""
    url = os.environ.get("FLEET_DATABASE_URL") or f"sqlite:///{whereabouts.data_dir() / 'fleet.db'}"
    made = outrider.create_engine(url)
    create_schema(made)
    return made


def create_schema(made: sa.Engine) -> None:
    """Make the tables that are missing, also while others do; raises what lasts."""
    deadline_s = time.monotonic() + SCHEMA_PATIENCE_S
    for wait_s in retry.pauses(0.02, 0.5):
        try:
            metadata.create_all(made)
        except DatabaseError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(wait_s)
        else:
            return


def upsert(table: sa.Table, values: dict[str, Any], changes: dict[str, Any]) -> sa.Executable:
    """Return a statement that inserts a row, or changes the one with the same primary key."""
    insert = postgresql.insert if engine().dialect.name == "postgresql" else sqlite.insert
    key = list(table.primary_key.columns)
    return insert(table).values(values).on_conflict_do_update(index_elements=key, set_=changes)
