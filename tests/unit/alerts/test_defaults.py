from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from outrider.alerts import defaults, expression, frame
from outrider.alerts.engine import Engine
from outrider.alerts.state import Alert
from outrider.errors import BadArgument
from outrider.metrics import catalog
from outrider.settings import Settings


def made(**values: Any) -> Settings:
    return Settings.model_validate(values)


def test_a_fleet_without_configuration_has_the_built_in_rules() -> None:
    assert list(defaults.BUILT_IN) == defaults.of_settings(made())
    assert len({rule.name for rule in defaults.BUILT_IN}) == len(defaults.BUILT_IN)


def test_a_users_rule_replaces_the_built_in_one_of_its_name() -> None:
    own = {"name": "bot is down", "when": "bot.*.up < 1 for 5m", "severity": "info"}
    found = defaults.of_settings(made(alert=[own, {"name": "mine", "when": "x > 1"}]))
    by_name = {rule.name: rule for rule in found}

    assert len(defaults.BUILT_IN) + 1 == len(found)
    assert (by_name["bot is down"].for_s, by_name["bot is down"].severity) == (300, "info")
    assert by_name["mine"].severity == "warning"


def test_a_cpu_limit_becomes_a_rule_for_each_instance() -> None:
    bots = {
        "canary": {"entry": "m:f", "instances": 2, "limits": {"cpu": 0.5}},
        "free": {"entry": "m:f"},
    }
    found = [
        rule for rule in defaults.of_settings(made(bots=bots)) if rule not in defaults.BUILT_IN
    ]

    assert [rule.text for rule in found] == [
        "bot.canary.cpu_ratio > 0.500000 for 1m", "bot.canary-2.cpu_ratio > 0.500000 for 1m",
    ]  # fmt: skip
    assert len({rule.name for rule in found}) == 2


def test_rules_that_cannot_be_read_are_refused_together() -> None:
    wrong = [
        {"name": "mine", "when": ""},
        {"name": "yours", "when": "x", "active": ["Someday"]},
    ]
    with pytest.raises(BadArgument) as caught:
        defaults.of_settings(made(alert=wrong))

    for words in ("mine: ", "column 1", "yours: ", "'Someday' is no time of the week"):
        assert words in str(caught.value)


def test_a_rule_that_is_not_enabled_takes_away_the_built_in_one() -> None:
    alert = {"name": "bot is down", "when": "x > 1", "enabled": False}
    found = defaults.of_settings(made(alert=[alert]))

    assert "bot is down" not in {rule.name for rule in found}


def test_every_built_in_rule_looks_at_series_that_there_are() -> None:
    for rule in defaults.BUILT_IN:
        for selector in expression.selectors(rule.condition):
            assert catalog.find(selector.text.replace("*", "x")), (rule.name, selector.text)


def test_times_and_advice_of_a_rule_are_taken_from_the_settings() -> None:
    alert = {
        "name": "mine", "when": "x > 1", "active": ["Mon-Fri 08:00-18:00"], "advice": "Call Ann.",
    }  # fmt: skip
    (rule,) = [
        rule for rule in defaults.of_settings(made(alert=[alert], timezone="Europe/Berlin"))
        if rule.name == "mine"
    ]  # fmt: skip

    assert rule.advice == "Call Ann."
    assert (rule.active.timezone, len(rule.active.spans)) == ("Europe/Berlin", 1)


def test_a_bot_may_count_what_the_supervisor_counts_without_raising_an_alarm() -> None:
    own = ["bot.canary.jobs.failed", "bot.canary.db.up", "bot.canary.http.loop_lag_s"]

    assert [rule.name for rule in defaults.BUILT_IN if rule.matches(own)] == []


def fired(*rows: dict[str, float]) -> list[tuple[str, str]]:
    """Return which built-in rules fire, and when they do, over rows of ten seconds."""
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    table = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    window = frame.rows_window(names, [10.0 * at for at in range(1, len(rows) + 1)], table)
    engine, alerts = Engine(defaults.BUILT_IN), dict[str, Alert]()
    found: list[tuple[str, str]] = []
    for at in range(len(rows)):
        row = frame.Frame(window, at, 10.0)
        alerts, changes = engine.evaluate(alerts, row, host="h", tick=at)
        found += [(change.rule, change.severity) for change in changes if change.to == "firing"]
    return found


def test_damage_in_the_store_is_an_alarm_and_none_is_not() -> None:
    assert fired({"store.damaged_total": 0.0}, {"store.damaged_total": 0.0}) == []
    assert fired({"store.damaged_total": 0.0}, {"store.damaged_total": 1.0}) == [
        ("stored series are damaged", "critical")
    ]


def test_a_restart_that_takes_twenty_seconds_wakes_nobody() -> None:
    rows = [{"bot.a.up": float(up)} for up in (1, 0, 0, 1, 1, 1)]

    assert fired(*rows) == []
    assert fired(*rows, *[{"bot.a.up": 0.0}] * 4) == [("bot is down", "critical")]


def test_half_of_a_fleet_is_worse_than_a_bot() -> None:
    row = {"bot.a.up": 0.0, "bot.b.up": 0.0, "bot.c.up": 1.0}

    assert ("half of the bots are down", "critical") in fired(*[row] * 5)
    assert ("half of the bots are down", "critical") not in fired(*[row | {"bot.a.up": 1.0}] * 5)


def test_a_queue_without_consumers_is_an_alarm_when_something_waits() -> None:
    def row(length: float) -> dict[str, float]:
        return {"celery.queue.a.b.consumers": 0.0, "celery.queue.a.b.length": length}

    assert fired(*[row(0.0)] * 10) == []
    assert fired(*[row(1.0)] * 10) == [("nobody takes a queue's tasks", "critical")]
