from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from outrider.analysis import beginnings, findings, state
from outrider.analysis.beginnings import Annotation
from outrider.analysis.state import HostState
from outrider.samples import Window
from outrider.store import connection, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

STEP_S = 10.0
NAMES = ("bot.a.rss_bytes", "bot.a.updates_total", "host.cpu.used_ratio")


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as made:
        yield made


def rows(first: int, last: int, names: tuple[str, ...] = NAMES) -> Window:
    """The rows of ticks ``first`` to ``last``: whoever asks, they are the same."""
    ticks = np.arange(first, last + 1)
    values = [
        [100 + (tick * 7919 % 13), 5 * tick, 0.3 + (tick * 104_729 % 11) / 100][: len(names)]
        for tick in ticks.tolist()
    ]
    return Window(names, ticks.astype(np.float64) * STEP_S, np.array(values, dtype=np.float64))


def learned(last: int, *, window: int = 60) -> HostState:
    made = HostState()
    for tick in range(last + 1):
        made.learn(rows(max(0, tick - window), tick), interval_s=STEP_S)
    return made


def test_a_state_is_a_function_of_the_rows_however_they_came() -> None:
    one_by_one, in_leaps = learned(200), HostState()
    for tick in (40, 41, 90, 150, 200):
        in_leaps.learn(rows(max(0, tick - 60), tick), interval_s=STEP_S)

    assert one_by_one.dumps() == in_leaps.dumps()


def test_another_worker_goes_on_from_what_was_saved(client: redis.Redis) -> None:
    first = learned(100)
    assert state.save(client, "h", first)
    first.learn(rows(50, 110), interval_s=STEP_S)

    second = state.load(client, "h")
    second.learn(rows(50, 110), interval_s=STEP_S)

    assert second.tick == 110
    assert first.dumps() == second.dumps()


def test_an_older_state_does_not_replace_a_newer(client: redis.Redis) -> None:
    assert state.save(client, "h", learned(50))

    assert not state.save(client, "h", learned(49))
    assert not state.save(client, "h", learned(50))
    assert state.load(client, "h").tick == 50
    assert 0 < client.ttl(keys.analysis("h")) <= state.TTL_S


def test_a_damaged_state_is_counted_and_begun_anew(client: redis.Redis) -> None:
    state.save(client, "h", learned(50))
    packed: Any = client.hget(keys.analysis("h"), "state")
    client.hset(keys.analysis("h"), "state", packed[:-3] + b"xyz")

    assert state.load(client, "h").tick == -1
    assert state.damaged(client, "h") == 1
    # The next one may have the very same tick.
    assert state.save(client, "h", learned(50))
    assert state.load(client, "h").tick == 50


def test_a_host_that_was_never_seen_has_a_new_state(client: redis.Redis) -> None:
    assert (state.load(client, "h").tick, state.damaged(client, "h")) == (-1, 0)


def test_series_that_come_are_learned_and_those_long_gone_forgotten() -> None:
    made = learned(100)
    old = Window(NAMES[:1], np.array([3 * 86_400.0]), np.array([[1.0]]))
    made.learn(old, interval_s=STEP_S)
    assert made.names == list(NAMES)

    fresh = Window(("bot.b.x", NAMES[0]), np.array([3 * 86_400.0 + 10]), np.array([[1.0, 2.0]]))
    made.learn(fresh, interval_s=STEP_S)

    assert made.names == [NAMES[0], "bot.b.x"]


def test_a_restart_lets_the_series_of_its_bot_begin_anew() -> None:
    made = learned(100)
    noted = [Annotation(1005.0, "a", "starting")]
    made.learn(rows(60, 110), noted, interval_s=STEP_S)

    assert made.normal.table["trial"].tolist() == [1.0, 1.0, 0.0]
    before = made.normal.table["filled"].tolist()
    made.learn(rows(60, 112), noted, interval_s=STEP_S)
    assert [n + 2 for n in before[:2]] == made.normal.table["filled"].tolist()[:2]


def test_beginnings_are_read_from_what_the_supervisor_and_people_did(client: redis.Redis) -> None:
    for event in (
        {"at_s": 1, "who": "supervisor@h", "what": "starting", "bot": "a"},
        {"at_s": 2, "who": "supervisor@other", "what": "starting", "bot": "a"},
        {"at_s": 3, "who": "supervisor@h", "what": "ready", "bot": "a"},
        {"at_s": 4, "who": "ann", "what": "asked to scale", "bot": "b"},
        {"what": "starting"}, ["no event"], {"at_s": "soon", "what": "starting"},
    ):  # fmt: skip
        client.lpush(keys.ACTIONS, json.dumps(event))
    client.lpush(keys.ACTIONS, b"{not json")

    found = sorted(beginnings.read(client, "h"), key=lambda each: each.at_s)

    assert [(each.at_s, each.bot) for each in found] == [(1.0, "a"), (4.0, "b")]


def test_a_finding_told_twice_is_kept_once_and_for_a_week(client: redis.Redis) -> None:
    week_s = 7 * 86_400
    old = {"kind": "anomaly", "at_s": 10.0, "series": "x"}
    new = {"kind": "anomaly", "at_s": week_s + 20.0, "series": "x"}
    findings.keep(client, "h", [old], now_s=20.0)
    findings.keep(client, "h", [old, old], now_s=20.0)
    assert findings.read(client, "h", 0.0) == [old]

    findings.keep(client, "h", [new], now_s=week_s + 20.0)
    client.zadd(keys.findings("h"), {b"{not json": week_s + 30.0})

    assert findings.read(client, "h", 0.0) == [new]
    assert findings.read(client, "h", week_s + 25.0) == []
