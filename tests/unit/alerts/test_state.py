from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.alerts import rules, state
from outrider.alerts.state import Alert, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outrider.alerts.rules import Rule

STEP_S = 10.0


class Host:
    """Feeds rows to the machine, one a tick, and keeps what it says."""

    def __init__(self, *written: str) -> None:
        self.rules: list[Rule] = [rules.parse(text, text) for text in written]
        self.alerts: dict[str, Alert] = {}
        self.tick = 0

    def row(self, values: Mapping[str, float], *, skip: int = 1) -> list[tuple[str, str]]:
        return [(change.before, change.to) for change in self.changes(values, skip=skip)]

    def changes(self, values: Mapping[str, float], *, skip: int = 1) -> list[Transition]:
        self.tick += skip
        self.alerts, changes = state.evaluate(
            self.rules, self.alerts, values,
            host="h", tick=self.tick, at_s=self.tick * STEP_S,
            increase=lambda name, _: values[name],
        )  # fmt: skip
        return changes


def test_a_rule_without_a_duration_fires_at_once() -> None:
    host = Host("x > 1")

    assert host.row({"x": 1.0}) == []
    assert host.row({"x": 2.0}) == [("inactive", "firing")]
    assert host.row({"x": 2.0}) == []
    assert host.row({"x": 1.0}) == [("firing", "inactive")]
    assert host.alerts == {}


def test_a_condition_must_hold_for_its_duration() -> None:
    host = Host("x > 1 for 20s")

    assert host.row({"x": 2.0}) == [("inactive", "pending")]
    assert host.row({"x": 2.0}) == []
    assert host.row({"x": 2.0}) == [("pending", "firing")]


def test_a_condition_that_ends_in_time_fires_nothing() -> None:
    host = Host("x > 1 for 20s")
    host.row({"x": 2.0})
    host.row({"x": 2.0})

    assert host.row({"x": 0.0}) == [("pending", "inactive")]
    assert host.row({"x": 2.0}) == [("inactive", "pending")]


def test_a_firing_alert_ends_below_its_clear_value_only() -> None:
    host = Host("x > 0.9 clear 0.7")

    assert [host.row({"x": x}) for x in (0.95, 0.8, 0.89, 0.71)] == [
        [("inactive", "firing")], [], [], [],
    ]  # fmt: skip
    assert host.row({"x": 0.7}) == [("firing", "inactive")]
    assert host.row({"x": 0.8}) == []


def test_each_instance_has_a_state_of_its_own() -> None:
    host = Host("bot.*.up < 1")
    host.row({"bot.a.up": 0.0, "bot.b.up": 1.0})
    changes = host.changes({"bot.a.up": 1.0, "bot.b.up": 0.0})

    assert [(change.instance, change.to) for change in changes] == [
        ("bot.a.up", "inactive"),
        ("bot.b.up", "firing"),
    ]


@pytest.mark.parametrize("nothing", [{}, {"x": math.nan}])
def test_an_alert_without_data_ends_after_a_while_not_at_once(
    nothing: Mapping[str, float],
) -> None:
    host = Host("x > 1")
    host.row({"x": 2.0})
    ticks = int(state.NO_DATA_AFTER_S / STEP_S)

    assert host.row(nothing, skip=ticks - 1) == []
    assert host.row(nothing) == [("firing", "inactive")]


def test_nan_is_no_data_whatever_the_comparison() -> None:
    host = Host("x != 1", "x < 5", "x > 5")

    assert host.row({"x": math.nan}) == []


def test_an_infinite_value_fires_and_can_be_written_as_json() -> None:
    host = Host("x > 1")
    (change,) = host.changes({"x": math.inf})

    assert change.to == "firing"
    json.dumps(change.plain(), allow_nan=False)
    json.dumps([asdict(alert) for alert in host.alerts.values()], allow_nan=False)


def test_a_rule_that_is_taken_away_ends_its_alerts() -> None:
    host = Host("x > 1", "y > 1")
    host.row({"x": 2.0, "y": 2.0})
    del host.rules[0]
    (change,) = host.changes({"x": 2.0, "y": 2.0})

    assert (change.rule, change.before, change.to) == ("x > 1", "firing", "inactive")
    assert {"y > 1|y"} == set(host.alerts)
    assert host.row({"x": 2.0, "y": 2.0}) == []


def test_a_counter_is_judged_by_its_increase() -> None:
    host = Host("increase(x, 1m) > 0")
    asked = []

    def increase(name: str, window_s: float) -> float | None:
        asked.append((name, window_s))
        return None

    _, changes = state.evaluate(
        host.rules, {}, {"x": 5.0}, host="h", tick=1, at_s=10.0, increase=increase
    )

    assert asked == [("x", 60.0)]
    assert changes == []
    assert host.row({"x": 1.0}) == [("inactive", "firing")]


def test_a_change_says_what_where_when_and_how_much() -> None:
    host = Host("bot.*.rss_bytes > 10")
    (change,) = host.changes({"bot.canary.rss_bytes": 12.5}, skip=7)

    assert change.id == "h|bot.*.rss_bytes > 10|bot.canary.rss_bytes|7|firing"
    assert (change.host, change.at_s, change.tick, change.value) == ("h", 70.0, 7, 12.5)
    assert change.summary == "bot.*.rss_bytes > 10: canary (12.5; rule: bot.*.rss_bytes > 10)"
    assert change.plain()["from"] == "inactive"


VALUES = st.one_of(
    st.none(), st.sampled_from([0.0, 0.6, 0.8, 1.0]), st.floats(allow_nan=True, width=16)
)
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=60)
WRITTEN = (
    "s.* > 0.7 for 30s clear 0.5",
    "s.a < 0.1",
    "s.b != 1 for 10s",
)


def replayed(rows: Sequence[tuple[float | None, float | None]], host: Host) -> list[Transition]:
    changes = []
    for a, b in rows:
        values = {"s.a": a, "s.b": b}
        changes += host.changes({name: v for name, v in values.items() if v is not None})
    return changes


@given(ROWS)
def test_the_same_rows_give_the_same_changes(rows: list[tuple[float | None, float | None]]) -> None:
    assert replayed(rows, Host(*WRITTEN)) == replayed(rows, Host(*WRITTEN))


@given(rows=ROWS, cut=st.integers(0, 60))
def test_going_on_from_what_was_stored_equals_never_having_stopped(
    rows: list[tuple[float | None, float | None]], cut: int
) -> None:
    whole, stopped, resumed = Host(*WRITTEN), Host(*WRITTEN), Host(*WRITTEN)
    first = replayed(rows[:cut], stopped)
    stored = json.dumps([asdict(alert) for alert in stopped.alerts.values()], allow_nan=False)
    resumed.alerts = {
        alert.key: alert for alert in msgspec.convert(json.loads(stored), list[Alert])
    }
    resumed.tick = stopped.tick

    assert replayed(rows, whole) == first + replayed(rows[cut:], resumed)
    assert whole.alerts == resumed.alerts


@given(ROWS)
def test_what_resolves_has_fired_and_every_change_follows_the_last(
    rows: list[tuple[float | None, float | None]],
) -> None:
    host = Host(*WRITTEN)
    changes = replayed(rows, host)

    def key(change: Transition) -> str:
        return f"{change.rule}|{change.instance}"

    for name, group in itertools.groupby(sorted(changes, key=key), key=key):
        now = "inactive"
        for change in group:
            assert now == change.before
            assert change.before != change.to
            now = change.to
        assert now == (host.alerts[name].state if name in host.alerts else "inactive")
    assert len({change.id for change in changes}) == len(changes)


@given(st.lists(st.sampled_from([0.0, 0.6, 0.8]), max_size=60))
def test_an_alert_fires_exactly_while_a_person_with_a_pencil_would_say_so(
    values: list[float],
) -> None:
    host = Host("x > 0.7 for 30s clear 0.5")
    firing, held = False, 0
    for value in values:
        held = held + 1 if value > 0.7 else 0
        firing = value > 0.5 if firing else held > 3
        host.row({"x": value})
        alert = host.alerts.get("x > 0.7 for 30s clear 0.5|x")
        assert firing == (alert is not None and alert.state == "firing")
