from __future__ import annotations

from typing import Any

import pytest

from outrider.database import fleet
from outrider.database.budget import Part
from outrider.database.load import Load
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
    assert plan.wall == 50 - 8
    plan = fleet.plan(of({"max_connections": 500, "reserved": 0}, canary=2), SERVER)
    assert plan is not None
    assert plan.wall == 100 - 3


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
    loads = {"owl": Load(8.0, 0.4), "canary": Load(1.0, 0.1)}
    plan = fleet.plan(of({}, canary=4, owl=4), SERVER, loads=loads)

    assert plan is not None
    assert plan.size_of("owl") > plan.size_of("canary")


def test_other_clients_of_the_server_are_taken_off() -> None:
    plan = fleet.plan(of({}, canary=4), SERVER, others=40)

    assert plan is not None
    assert plan.wall == 100 - 8 - 40


def test_each_instance_has_its_part_by_name() -> None:
    settings = of({}, canary=2)
    plan = fleet.plan(settings, SERVER, loads={"canary": Load(10.0, 0.25)})

    assert plan is not None
    assert fleet.parts(settings, plan) == {
        "canary": Part(3, plan.size_of("canary")),
        "canary-2": Part(3, plan.size_of("canary")),
    }


def test_the_server_is_named_by_host_and_port() -> None:
    url = "postgresql://bot:secret@db.example:6000/fleet"
    assert fleet.server_name(of({"url": url})) == "db.example:6000"
    assert fleet.server_name(of({"url": "sqlite:///bots.db"})) is None
    assert fleet.server_name(of({})) is None


def test_a_fleet_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(FleetTooLarge):
        fleet.plan(of({}, canary=200), SERVER)
