from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.alerts import calendar, frame, rules, state
from outrider.alerts.engine import Engine
from outrider.alerts.state import Alert, Transition
from outrider.errors import RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outrider.alerts.rules import Rule

STEP_S = 10.0


class Host:
    """Feeds rows to the machine, one a tick, and keeps what it says."""

    def __init__(self, *written: str | Rule) -> None:
        self.rules: list[Rule] = [
            rules.parse(text, text) if isinstance(text, str) else text for text in written
        ]
        self.alerts: dict[str, Alert] = {}
        self.tick = 0

    def row(self, values: Mapping[str, float], *, skip: int = 1) -> list[tuple[str, str]]:
        return [(change.before, change.to) for change in self.changes(values, skip=skip)]

    def changes(self, values: Mapping[str, float], *, skip: int = 1) -> list[Transition]:
        self.tick += skip
        row = frame.of_values(values, self.tick * STEP_S)
        engine = Engine(self.rules)
        self.alerts, changes = engine.evaluate(self.alerts, row, host="h", tick=self.tick)
        return changes

    def state(self, key: str) -> str:
        return self.alerts[key].state if key in self.alerts else "inactive"


def test_a_rule_without_a_duration_fires_at_once() -> None:
    host = Host("x > 1")

    assert host.row({"x": 1.0}) == []
    assert host.row({"x": 2.0}) == [("inactive", "firing")]
    assert host.row({"x": 2.0}) == []
    assert host.row({"x": 1.0}) == [("firing", "resolved")]
    assert host.row({"x": 1.0}) == []
    assert host.row({"x": 1.0}, skip=89) == [("resolved", "inactive")]
    assert host.alerts == {}


def test_what_is_resolved_fires_again_at_once() -> None:
    host = Host("x > 1")
    host.row({"x": 2.0})
    host.row({"x": 0.0})

    assert host.row({"x": 2.0}) == [("resolved", "firing")]


def test_an_alert_is_kept_firing_while_its_condition_flaps() -> None:
    host = Host("x > 1 keep_firing_for 20s")
    host.row({"x": 2.0})

    assert host.row({"x": 0.0}) == [("firing", "recovering")]
    assert host.row({"x": 0.0}) == []
    assert host.row({"x": 2.0}) == [("recovering", "firing")]
    assert [host.row({"x": 0.0}) for _ in range(3)] == [
        [("firing", "recovering")], [], [("recovering", "resolved")],
    ]  # fmt: skip


def test_people_are_told_of_what_begins_and_ends_not_of_what_flaps_between() -> None:
    host = Host("x > 1 for 10s keep_firing_for 20s")
    changes = [change for x in (2, 2, 0, 2, 0, 0, 0) for change in host.changes({"x": float(x)})]

    assert [(change.to, change.is_news) for change in changes] == [
        ("pending", False), ("firing", True), ("recovering", False), ("firing", False),
        ("recovering", False), ("resolved", True),
    ]  # fmt: skip


def test_an_alert_may_end_by_a_condition_of_its_own() -> None:
    host = Host("x > 1 clear y < 1")
    host.row({"x": 2.0, "y": 5.0})

    assert host.row({"x": 0.0, "y": 5.0}) == []
    assert host.row({"x": 0.0, "y": 0.0}) == [("firing", "resolved")]


def test_nothing_begins_outside_its_times_and_what_fires_goes_on() -> None:
    thursday = calendar.parse(["Thu 00:01-00:02"])  # 1970 began on a Thursday
    host = Host(rules.parse("n", "x > 1", active=thursday))

    assert host.row({"x": 2.0}) == []
    assert host.row({"x": 2.0}, skip=5) == [("inactive", "firing")]
    assert host.row({"x": 2.0}, skip=30) == []
    assert host.row({"x": 0.0}) == [("firing", "resolved")]


def test_silence_is_an_alarm_until_it_speaks_again() -> None:
    host = Host("absent(bot.*.up) for 20s")
    host.row({"bot.a.up": 1.0, "bot.b.up": 1.0})

    assert host.changes({"bot.b.up": 1.0})[0].to == "pending"
    assert host.row({"bot.b.up": 1.0}) == []
    (change,) = host.changes({"bot.b.up": 1.0})
    assert (change.instance, change.to, change.value) == ("bot.a.up", "firing", 30.0)
    assert host.row({"bot.a.up": 0.0, "bot.b.up": 1.0}) == [("firing", "resolved")]


def test_what_never_spoke_on_a_host_is_not_missed_there() -> None:
    host = Host("absent(db.server.up) for 10s")

    assert [host.row({"x": 1.0}) for _ in range(5)] == [[]] * 5


def test_what_was_silent_for_a_day_was_taken_away() -> None:
    host = Host("absent(x)")
    host.row({"x": 1.0})
    host.row({})
    day = int(state.FORGOTTEN_AFTER_S / STEP_S)

    assert host.row({}, skip=day) == [("firing", "resolved")]
    host.row({}, skip=100)
    assert host.alerts == {}


def test_a_rule_that_cannot_be_evaluated_is_an_alert_of_its_own_until_it_can() -> None:
    host = Host("s{a}.x > 1", "y > 1")
    (change,) = host.changes({"sa.x": 2.0})
    assert change.to == "firing"
    many = {f"s{number}.x": 2.0 for number in range(20_001)}

    (change,) = host.changes(many | {"y": 0.0})
    assert (change.instance, change.to, change.is_news) == ("", "error", True)
    assert "more than 20000" in change.summary
    assert host.row(many) == []
    assert [(c.instance, c.to) for c in host.changes({"sa.x": 2.0})] == [("", "resolved")]
    assert host.state("s{a}.x > 1|sa.x") == "firing"


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
    assert host.row({"x": 0.7}) == [("firing", "resolved")]
    assert host.row({"x": 0.8}) == []


def test_each_instance_has_a_state_of_its_own() -> None:
    host = Host("bot.*.up < 1")
    host.row({"bot.a.up": 0.0, "bot.b.up": 1.0})
    changes = host.changes({"bot.a.up": 1.0, "bot.b.up": 0.0})

    assert [(change.instance, change.to) for change in changes] == [
        ("bot.a.up", "resolved"),
        ("bot.b.up", "firing"),
    ]


@pytest.mark.parametrize("nothing", [{}, {"x": math.nan}])
def test_an_alert_without_data_says_so_and_ends_after_a_while(
    nothing: Mapping[str, float],
) -> None:
    host = Host("x > 1")
    host.row({"x": 2.0})
    missed, gone = int(state.NO_DATA_AFTER_S / STEP_S), int(state.GONE_AFTER_S / STEP_S)

    assert host.row(nothing, skip=missed - 1) == []
    assert host.row(nothing) == [("firing", "no_data")]
    assert host.row(nothing, skip=gone - missed - 1) == []
    assert host.row(nothing) == [("no_data", "resolved")]


def test_an_alert_whose_data_come_back_goes_on_or_ends() -> None:
    host = Host("x > 1")
    host.row({"x": 2.0})
    host.row({}, skip=10)

    assert host.row({"x": 2.0}) == [("no_data", "firing")]
    host.row({}, skip=10)
    assert host.row({"x": 0.0}) == [("no_data", "resolved")]


def test_a_condition_that_was_not_watched_for_long_has_not_held_meanwhile() -> None:
    host = Host("x > 1 for 1m")
    host.row({"x": 2.0})

    assert host.row({"x": 2.0}, skip=40) == []
    assert host.row({"x": 2.0}, skip=5) == []
    assert host.row({"x": 2.0}) == [("pending", "firing")]


def test_a_fault_of_one_rule_does_not_silence_the_others() -> None:
    host = Host("anomaly(x) > 1", "y > 1")

    def odd(*_: object) -> float:
        raise ValueError("no number")

    row = frame.of_values({"x": 2.0, "y": 2.0}, 10.0, signals=odd)
    _, changes = Engine(host.rules).evaluate({}, row, host="h", tick=1)

    assert [(change.rule, change.to) for change in changes] == [
        ("anomaly(x) > 1", "error"), ("y > 1", "firing"),
    ]  # fmt: skip
    assert changes[0].summary == "anomaly(x) > 1: can't be evaluated: no number"


def test_a_server_that_is_away_is_no_fault_of_a_rule() -> None:
    def away(*_: object) -> float:
        raise RedisUnavailable("away")

    row = frame.of_values({"x": 2.0}, 10.0, signals=away)
    with pytest.raises(RedisUnavailable):
        Engine([rules.parse("r", "anomaly(x) > 1")]).evaluate({}, row, host="h", tick=1)


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

    assert (change.rule, change.before, change.to) == ("x > 1", "firing", "resolved")
    assert {"y > 1|y"} == set(host.alerts)
    assert host.row({"x": 2.0, "y": 2.0}) == []


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
    "s.a < 0.1 keep_firing_for 20s",
    "s.b != 1 for 10s",
    "absent(s.*) for 20s",
    "2 of (s.a > 0.7, s.b > 0.7, s.a / s.b < 1)",
)


def replayed(rows: Sequence[tuple[float | None, float | None]], host: Host) -> list[Transition]:
    changes = []
    for a, b in rows:
        values = {"s.a": a, "s.b": b}
        changes += host.changes({name: v for name, v in values.items() if v is not None})
    return changes


@settings(deadline=None)
@given(ROWS)
def test_the_same_rows_give_the_same_changes(rows: list[tuple[float | None, float | None]]) -> None:
    assert replayed(rows, Host(*WRITTEN)) == replayed(rows, Host(*WRITTEN))


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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
