from __future__ import annotations

import dataclasses

import pytest

from outrider.database import presets
from outrider.errors import BadArgument
from outrider.settings import Settings

ALL = list(presets.PRESETS.values())
# A stock PostgreSQL: 100 connections, 3 of them for superusers.
STOCK = 97


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_every_value_has_a_reason(preset: presets.Preset) -> None:
    explained = presets.explain(preset)
    values = {field.name for field in dataclasses.fields(preset)} - {"name", "reasons"}

    assert values == {name for name, _, _ in explained} == set(preset.reasons)
    assert all(len(reason) > 10 for _, _, reason in explained)
    assert all(value == getattr(preset, name) for name, value, _ in explained)


def test_each_environment_of_the_settings_has_its_preset() -> None:
    choices = Settings.model_json_schema()["properties"]["environment"]["enum"]

    assert choices == list(presets.PRESETS)


def test_an_unknown_preset_names_the_four_and_the_nearest() -> None:
    with pytest.raises(BadArgument) as caught:
        presets.by_name("high-performance")

    for name in ("development", "staging", "production", "high_performance"):
        assert name in str(caught.value)
    assert "Did you mean high_performance?" in str(caught.value)


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_the_bounds_are_in_order_and_nothing_overflows(preset: presets.Preset) -> None:
    assert 1 <= preset.pool_least <= preset.pool_size <= preset.pool_most
    assert preset.max_overflow == 0


@pytest.mark.parametrize(
    ("name", "processes"), [("staging", 10), ("production", 11), ("high_performance", 8)]
)
def test_as_many_processes_as_the_reason_says_fit_a_stock_server(name: str, processes: int) -> None:
    assert processes * presets.by_name(name).pool_size <= STOCK


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_a_lock_is_given_up_before_its_statement(preset: presets.Preset) -> None:
    assert preset.lock_timeout_s < preset.statement_timeout_s


def test_a_preset_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.PRODUCTION.pool_size = 100  # type: ignore[misc]
    with pytest.raises(TypeError):
        presets.PRODUCTION.reasons["pool_size"] = "because"  # type: ignore[index]
