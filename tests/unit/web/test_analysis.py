from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from outrider.analysis import report
from outrider.analysis.state import HostState
from outrider.errors import BadArgument
from outrider.samples import Window
from outrider.store import connection, keys
from outrider.store.redis import RedisStore
from outrider.web import analysis

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.unit.web.conftest import Visitor

EVIL = "bot.a.\x1b[2J<script>"
TICKS = 61


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as made:
        yield made


@pytest.fixture
def store(client: redis.Redis) -> RedisStore:
    return RedisStore("", client=client)


@pytest.fixture
def now_s(client: redis.Redis, store: RedisStore) -> float:
    """Ten minutes of rows whose last is odd, and their report."""
    import json

    from outrider.analysis import findings, state

    now_s = time.time()
    last = int(now_s // 10)
    values = np.array([[5.0 + n % 3, 10.0 * n] for n in range(TICKS)])
    values[-1, 0] = 900
    names = (EVIL, "bot.a.updates_total")
    times = (last - TICKS + 1 + np.arange(TICKS, dtype=np.float64)) * 10.0
    for at_s, row in zip(times.tolist(), values.tolist(), strict=True):
        store.append("alpha", int(at_s // 10), dict(zip(names, row, strict=True)))
    learned = HostState()
    long_ago = np.array([[5.0 + n % 3, 10.0 * n] for n in range(-6 * 360, 0)])
    learned.learn(
        Window(names, times[0] + 10.0 * np.arange(-6 * 360, 0), long_ago), interval_s=10.0
    )
    made, found = report.build(Window(names, times, values), host="alpha", tick=last, state=learned)
    client.set(keys.report("alpha"), json.dumps(made))
    findings.keep(client, "alpha", found, now_s=now_s)
    state.save(client, "alpha", learned)
    return now_s


def shown(client: redis.Redis, store: RedisStore, now_s: float, **asked: str) -> dict[str, Any]:
    return analysis.shown(client, store, {"host": "alpha", **asked}, now_s)


def test_a_picture_of_what_is_odd_comes_as_shapes(
    client: redis.Redis, store: RedisStore, now_s: float
) -> None:
    found = shown(client, store, now_s)
    (odd,) = [each for each in found["pictures"] if "script" in each["series"]]

    assert found["state"] == "ok"
    kinds = [shape["kind"] for shape in odd["shapes"]]
    assert {"band", "line", "mark anomaly"} <= set(kinds)
    assert {shape["tag"] for shape in odd["shapes"]} <= {"path", "line", "text"}
    assert "\x1b" not in str(found)


def test_the_tables_say_what_is_off(client: redis.Redis, store: RedisStore, now_s: float) -> None:
    tables = {each["title"]: each for each in shown(client, store, now_s)["tables"]}

    assert "Off its normal" in tables
    assert len(tables["Off its normal"]["rows"][0]) == len(tables["Off its normal"]["columns"])


def test_a_host_without_a_report_has_nothing_to_show(
    client: redis.Redis, store: RedisStore
) -> None:
    found = shown(client, store, 1e9)

    assert (found["state"], found["pictures"], found["tables"]) == ("unknown", [], [])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"since": "soon"}, "since = 'soon' must be like 30m"),
        ({"since": "0s"}, "more than nought"),
        ({"since": "400d"}, "at most seven days"),
        ({"host": "x" * 301}, "host has 301 letters"),
    ],
)
def test_a_bad_question_is_answered_with_what_it_takes(
    client: redis.Redis, store: RedisStore, asked: dict[str, str], words: str
) -> None:
    with pytest.raises(BadArgument, match=words):
        shown(client, store, 1e9, **asked)


def test_the_route_asks_for_the_token_and_names_a_mistake(stranger: Visitor, token: str) -> None:
    assert stranger.get("/api/analysis?host=alpha").status_code == 401
    stranger.headers["Authorization"] = f"Bearer {token}"
    refused = stranger.get("/api/analysis?host=alpha&since=soon")

    assert refused.status_code == 400
    assert "since = 'soon'" in refused.json()["error"]
