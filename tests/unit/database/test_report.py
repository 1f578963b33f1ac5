from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from outrider.database import fleet, report
from outrider.database import server as servers
from outrider.database.server import Server
from outrider.errors import BadArgument
from outrider.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SERVER = Server("postgresql", "17.2", max_connections=100, reserved=3)


def of(instances: int, **database: Any) -> Settings:
    bots = {"canary": {"entry": "m:f", "instances": instances}}
    return Settings.model_validate(
        {"environment": "production", "bots": bots, "database": database}
    )


def codes(settings: Settings, server: Server | None) -> list[str]:
    plan = fleet.plan(settings, server)
    return [warning["code"] for warning in report.warnings(settings, server, plan)]


def test_a_small_fleet_with_a_role_of_its_own_has_no_warnings() -> None:
    assert codes(of(6), SERVER) == []


def test_a_fleet_whose_unsized_pools_would_pass_the_limit_is_named() -> None:
    assert codes(of(7), SERVER) == ["unsized_pools"]


def test_a_superuser_is_named() -> None:
    assert codes(of(1), Server("postgresql", "17.2", 100, 3, superuser=True)) == ["superuser"]


def test_a_plan_with_fewer_connections_than_the_preset_asks_for_is_named() -> None:
    assert codes(of(60), SERVER) == ["unsized_pools", "too_few"]


def test_a_limit_above_the_servers_is_named() -> None:
    assert codes(of(1, max_connections=200), SERVER) == ["limit_too_high"]


def test_every_warning_has_a_remedy() -> None:
    settings = of(60, max_connections=200)
    server = Server("postgresql", "17.2", 100, 3, superuser=True)
    found = report.warnings(settings, server, fleet.plan(settings, server))

    assert len(found) == 4
    assert all(warning["text"] and warning["remedy"] for warning in found)


def test_a_report_without_a_database_still_explains_the_preset() -> None:
    found = report.build(of(1, max_connections=24))

    assert found["preset"]["name"] == "production"
    assert {"name", "value", "reason"} == set(found["preset"]["values"][0])
    assert found["server"] is None
    assert found["plan"]["bots"] == [
        {
            "name": "canary",
            "instances": 1,
            "pool_size": 8,
            "floor": 1,
            "wait_p99_s": None,
            "connections": 8,
        }
    ]
    assert [warning["code"] for warning in found["warnings"]] == ["no_database"]


def test_a_report_on_sqlite_has_no_plan_and_says_why_it_has_no_statements(tmp_path: Path) -> None:
    found = report.build(of(2, url=f"sqlite:///{tmp_path}/bot.db"))

    assert found["server"]["kind"] == "sqlite"
    assert found["plan"] is None
    assert "sqlite" in found["slow_statements_note"]
    assert json.loads(json.dumps(found)) == found


def test_a_database_that_is_away_is_part_of_the_report_and_its_password_is_not() -> None:
    url = "postgresql://bot:secret@127.0.0.1:1/fleet"
    found = report.build(of(1, url=url, max_connections=20))

    assert [warning["code"] for warning in found["warnings"]] == ["unavailable"]
    assert found["plan"]["total"] <= 12
    assert "secret" not in json.dumps(found)


def test_a_url_that_can_not_be_used_is_part_of_the_report() -> None:
    found = report.build(of(2, url="postgrsql://bot:secret@db/fleet"))

    assert "knows no database" in found["warnings"][0]["text"]
    assert "secret" not in json.dumps(found)


def test_a_database_of_another_kind_can_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine("sqlite://")
    monkeypatch.setattr(engine.dialect, "name", "oracle")

    with pytest.raises(BadArgument, match=r"set \[database\] max_connections"):
        servers.ask(engine)
