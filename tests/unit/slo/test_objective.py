from __future__ import annotations

from typing import Any

import pytest

from outrider.errors import BadArgument, SettingsError
from outrider.settings import Settings, load
from outrider.slo import objective


def of(*slo: dict[str, Any]) -> list[objective.Objective]:
    return objective.of_settings(Settings.model_validate({"host": "alpha", "slo": slo}))


def test_a_fleet_without_configuration_has_objectives() -> None:
    assert [each.name for each in of()] == ["bots are alive", "ticks on time"]


def test_an_own_objective_replaces_the_built_in_one_of_its_name() -> None:
    own = {"name": "Bots are alive", "indicator": "alive", "objective": 0.9, "bots": ["canary*"]}
    found = {each.slug: each for each in of(own)}

    assert found["bots-are-alive"].objective == 0.9
    assert found["bots-are-alive"].concerns("canary-2")
    assert not found["bots-are-alive"].concerns("finch")
    assert len(found) == 2


def test_two_objectives_may_not_share_their_series() -> None:
    one = {"name": "fast answers", "indicator": "alive", "objective": 0.9}
    two = one | {"name": "Fast-answers"}

    with pytest.raises(BadArgument, match="would be those of 'fast answers'"):
        of(one, two)


def test_a_bad_indicator_is_named_with_its_objective() -> None:
    with pytest.raises(BadArgument, match="slo 'x': indicator = 'quick'"):
        of({"name": "x", "indicator": "quick", "objective": 0.9})


def test_a_name_without_a_letter_is_refused() -> None:
    with pytest.raises(BadArgument, match="needs a letter or digit"):
        of({"name": "!!", "indicator": "alive", "objective": 0.9})


def test_objectives_are_checked_with_the_settings(tmp_path: Any) -> None:
    file = tmp_path / "outrider.toml"
    file.write_text('[[slo]]\nname = "a"\nindicator = "alive"\nobjective = 99.5\n')

    with pytest.raises(SettingsError, match=r"slo\.0\.objective"):
        load(file)
