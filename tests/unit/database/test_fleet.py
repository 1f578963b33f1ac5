from __future__ import annotations

from typing import Any

import pytest

from outrider.database import fleet
from outrider.database.pools import FleetTooLarge
from outrider.database.server import Server
from outrider.settings import Settings

SERVER = Server("postgresql", "17.2", max_connections=100, reserved=3)


def of(database: dict[str, Any], environment: str = "production", **instances: int) -> Settings:
    bots = {name: {"entry": "m:f", "instances": count} for name, count in instances.items()}
    return Settings.model_validate({"environment": environment, "bots": bots, "database": database})


def test_the_lower_limit_and_the_higher_reserve_count() -> None:
    plan = fleet.plan(of({"max_connections": 50, "reserved": 8}, canary=2), SERVER)

    assert plan is not None
    assert (plan.max_connections, plan.reserved) == (50, 8)
    plan = fleet.plan(of({"max_connections": 500, "reserved": 0}, canary=2), SERVER)
    assert plan is not None
    assert (plan.max_connections, plan.reserved) == (100, 3)


def test_the_settings_alone_are_enough() -> None:
    plan = fleet.plan(of({"max_connections": 20}, canary=2, owl=1))

    assert plan is not None
    assert (plan.size_of("canary"), plan.size_of("owl")) == (3, 3)


def test_without_any_limit_there_is_no_plan() -> None:
    assert fleet.plan(of({}, canary=1)) is None
    assert fleet.plan(of({}, canary=1), Server("sqlite", "3.45")) is None


def test_no_instance_gets_more_than_its_preset_allows() -> None:
    plan = fleet.plan(of({}, environment="development", canary=1), SERVER)

    assert plan is not None
    assert plan.size_of("canary") == 5


def test_a_bot_that_asks_more_often_gets_more() -> None:
    plan = fleet.plan(of({}, canary=4, owl=4), SERVER, weights={"owl": 3.0})

    assert plan is not None
    assert plan.size_of("owl") > plan.size_of("canary")


def test_a_fleet_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(FleetTooLarge):
        fleet.plan(of({}, canary=200), SERVER)
