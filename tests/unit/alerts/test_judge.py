from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outrider.alerts import frame, journal, judge, rules
from outrider.alerts.engine import Engine
from outrider.alerts.state import Alert
from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import redis

WRITTEN = (
    "s.* > 0.7 for 30s clear 0.5",
    "increase(s.*, 30s) > 1 keep_firing_for 20s",
    "absent(s.*) for 20s",
    "2 of (s.a > 0.7, s.b > 0.7, avg(s.a, 40s) > avg(s.b, 40s))",
)
RULES = [rules.parse(text, text) for text in WRITTEN]
ONE = [rules.parse("r", "x > 1")]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


def stored(client: redis.Redis, rows: Mapping[int, Mapping[str, float]]) -> RedisStore:
    store = RedisStore("", client=client)
    for tick, values in rows.items():
        store.append("h", tick, values)
    return store


def reference(rows: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the history of a machine that sees every stored row once, in order."""
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    table = np.array([[row.get(name, math.nan) for name in names] for row in rows])
    window = frame.rows_window(names, [10.0 * (1 + at) for at in range(len(rows))], table)
    engine, alerts, history = Engine(RULES), dict[str, Alert](), []
    for at in range(len(rows)):
        row = frame.Frame(window, at, 10.0)
        alerts, changes = engine.evaluate(alerts, row, host="h", tick=1 + at)
        history += [change.plain() for change in changes]
    return history


VALUE = st.one_of(st.none(), st.sampled_from([0.0, 0.6, 0.8, 2.0, math.inf]))
ROWS = st.lists(
    st.fixed_dictionaries({"s.a": VALUE, "s.b": VALUE}).map(
        lambda row: {name: value for name, value in row.items() if value is not None}
    ),
    min_size=1,
    max_size=25,
)


@given(rows=ROWS, data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_history_equals_the_reference_however_messages_are_delivered(
    rows: list[dict[str, float]], data: st.DataObject, client: redis.Redis
) -> None:
    client.flushall()
    store = RedisStore("", client=client)
    engines = [Engine(RULES), Engine(RULES)]
    waiting: list[int] = []
    for tick, values in enumerate(rows, start=1):
        store.append("h", tick, values)
        waiting += [tick] * data.draw(st.integers(0, 2), label="copies")
        # Some messages come now, in any order; the others late.
        for message in data.draw(st.permutations(waiting), label="order")[:2]:
            waiting.remove(message)
            worker = data.draw(st.sampled_from(engines), label="worker")
            judge.judge(client, store, worker, "h", message)
    for message in (*waiting, len(rows), len(rows)):
        judge.judge(client, store, engines[0], "h", message)

    assert reference(rows) == journal.history(client, 10_000)[::-1]


def test_two_workers_that_judge_the_same_rows_keep_one_history(client: redis.Redis) -> None:
    store = stored(client, {1: {"x": 2.0}, 2: {"x": 0.0}})
    slow, quick = Engine(ONE), Engine(ONE)
    evaluate = slow.evaluate

    def overtaken(*args: Any, **kwargs: Any) -> Any:
        slow.evaluate = evaluate  # type: ignore[method-assign]
        judge.judge(client, store, quick, "h", 1)
        return evaluate(*args, **kwargs)

    slow.evaluate = overtaken  # type: ignore[method-assign]
    changes, new = judge.judge(client, store, slow, "h", 2)

    assert ([change.to for change in changes], new) == (["resolved"], True)
    assert [entry["to"] for entry in journal.history(client)] == ["resolved", "firing"]


def test_what_lies_long_ago_is_not_caught_up_with(client: redis.Redis) -> None:
    store = stored(client, {1: {"x": 2.0}, 200: {"x": 2.0}})
    judge.judge(client, store, Engine(ONE), "h", 200)

    assert [entry["tick"] for entry in journal.history(client)] == [200]


def test_without_a_row_nothing_is_judged(client: redis.Redis) -> None:
    assert judge.judge(client, stored(client, {}), Engine(ONE), "h", 5) == ([], False)
    assert journal.load(client, "h")[0] == -1


def test_the_analysis_is_asked_while_it_is_fresh(client: redis.Redis) -> None:
    engine = Engine([
        rules.parse("odd", "anomaly(x) > 8"),
        rules.parse("soon", "time_to_limit(host.disk.used_ratio) < 4h"),
    ])  # fmt: skip
    row = {"x": 1.0, "y": 1.0, "host.disk.used_ratio": 0.9}
    store = stored(client, {1: row, 2: row, 9: row})
    report = (
        b'{"at_s": 10.0, "anomalies": [{"series": "x", "score": 9.5}], "outlook_at_s": 0.0,'
        b' "limits": [{"series": "host.disk.used_ratio", "eta_s": 14000.0}]}'
    )
    client.set(keys.report("h"), report)

    changes, _ = judge.judge(client, store, engine, "h", 1)
    assert [(c.rule, c.to, c.value) for c in changes] == [
        ("odd", "firing", 9.5), ("soon", "firing", 13990.0),
    ]  # fmt: skip
    changes, _ = judge.judge(client, store, engine, "h", 9)
    assert {(c.rule, c.to) for c in changes} == {("odd", "no_data"), ("soon", "no_data")}


def test_a_window_longer_than_rows_are_read_for_is_read_by_series(client: redis.Redis) -> None:
    rows = {tick: {"n_total": float(tick), "other": 1.0} for tick in range(1, 200)}
    store = stored(client, rows)
    engine = Engine([rules.parse("n", "increase(n_total, 30m) >= 180")])
    changes, _ = judge.judge(client, store, engine, "h", 199)

    assert changes[-1].to == "firing"
    assert changes[-1].value == 180.0
