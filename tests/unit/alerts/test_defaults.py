from __future__ import annotations

from typing import Any

import pytest

from outrider.alerts import defaults, state
from outrider.errors import BadArgument
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

    assert [rule.series for rule in found] == ["bot.canary.cpu_ratio", "bot.canary-2.cpu_ratio"]
    assert {(0.5, 60.0, ">")} == {(rule.threshold, rule.for_s, rule.op) for rule in found}
    assert len({rule.name for rule in found}) == 2


def test_a_rule_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(BadArgument, match="column 1"):
        defaults.of_settings(made(alert=[{"name": "mine", "when": ""}]))


def test_a_bot_may_count_what_the_supervisor_counts_without_raising_an_alarm() -> None:
    own = ["bot.canary.jobs.failed", "bot.canary.db.up", "bot.canary.http.loop_lag_s"]

    assert [rule.name for rule in defaults.BUILT_IN if rule.matches(own)] == []


def test_damage_in_the_store_is_an_alarm_and_none_is_not() -> None:
    def fired(damaged: float) -> list[tuple[str, str]]:
        _, changes = state.evaluate(
            defaults.BUILT_IN, {}, {"store.damaged_total": damaged}, host="h", tick=1, at_s=10.0,
            increase=lambda _, window_s: damaged if window_s == 300.0 else None,
        )  # fmt: skip
        return [(change.rule, change.severity) for change in changes if change.to == "firing"]

    assert fired(0.0) == []
    assert fired(1.0) == [("stored series are damaged", "critical")]
