from __future__ import annotations

import json
import time
import tomllib
from typing import TYPE_CHECKING

import pytest

from outrider.settings import Settings
from outrider.slo import objective
from outrider.slo.keeping import Budgets
from outrider.store import connection, keys, tiers
from outrider.store.redis import RedisStore
from outrider.store.sketches import SketchStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider

SLO = '[[slo]]\nname = "canary lives"\nindicator = "alive"\nobjective = 0.9\nbots = ["canary"]\n'


@pytest.fixture
def empty(valkey_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    (folder / "outrider.toml").write_text(SLO)
    return valkey_url


@pytest.fixture
def counted(empty: str) -> str:
    """An hour in which a bot was down for the last ten minutes."""
    settings = Settings(host="alpha", slo=[{"name": "canary lives", "indicator": "alive",
                                            "objective": 0.9, "bots": ["canary"]}])  # fmt: skip
    with connection.connect(empty) as client:
        raw = RedisStore(empty, client=client)
        stores = tiers.of_redis(raw, settings.retention, client=client)
        sketches = SketchStore(client, retention=settings.retention)
        budgets = Budgets(client, stores, sketches, objective.of_settings(settings))
        now = int(time.time() / 10)
        for tick in range(now - 360, now):
            raw.append(
                "alpha", tick, {"bot.canary.up": float(tick < now - 60), "bot.finch.up": 1.0}
            )
        for tick in range(now - 360, now, 10):
            raw.append(keys.FLEET, tick, budgets.advance(tick))
        raw.append(keys.FLEET, now, budgets.advance(now))
    return empty


@pytest.mark.usefixtures("counted")
def test_the_list_says_what_is_left_and_who_spent_it(outrider: Outrider) -> None:
    found = json.loads(outrider("slo", "list", "--json").stdout)
    said = outrider("slo", "list").stdout

    by_name = {each["name"]: each for each in found}
    lives = by_name["canary lives"]
    assert lives["series"] == "slo.canary-lives"
    assert (lives["total"], lives["good"]) == (lives["good"] + 60, lives["good"])
    assert lives["spent_by"][0]["who"] == "canary"
    assert set(by_name) == {"bots are alive", "ticks on time", "canary lives"}
    assert "canary (100%)" in said


@pytest.mark.usefixtures("empty")
def test_what_is_not_counted_yet_says_what_to_do(outrider: Outrider) -> None:
    assert "`outrider up` counts" in outrider("slo", "list").stdout


@pytest.mark.usefixtures("counted")
def test_a_report_is_text_json_and_a_page(outrider: Outrider, folder: Path) -> None:
    found = json.loads(outrider("slo", "report", "--json", "--html", "month.html").stdout)

    assert {each["name"] for each in found["objectives"]} >= {"canary lives"}
    assert "canary lives" in (folder / "month.html").read_text("utf-8")
    assert "canary lives" in outrider("slo", "report").stdout
    assert outrider("slo", "report", "--html", "no/such/folder").exit_code == 2


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "--month", "may"), "write it like 2026-11"),
        (("report", "--month", "2999-01"), "lies ahead"),
        (("backtest", "nothing"), "declared are 'bots are alive'"),
        (("backtest", "canary lives"), "saw nothing"),
        (("backtest", "x", "--indicator", "quick"), "no such indicator"),
        (("maintenance", "plan", "x", "--for", "soon"), "--for 'soon' is not a duration"),
        (("maintenance", "end", "nope"), "no such maintenance"),
    ],
)
def test_bad_input_is_named(arguments: tuple[str, ...], said: str, outrider: Outrider) -> None:
    result = outrider("slo", *arguments)

    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.usefixtures("counted")
def test_a_backtest_shows_the_pages_that_would_have_been(outrider: Outrider) -> None:
    found = json.loads(
        outrider("slo", "backtest", "canary lives", "--objective", "0.99", "--json").stdout
    )
    said = outrider("slo", "backtest", "canary lives", "--objective", "0.99").stdout
    draft = outrider("slo", "backtest", "d", "--indicator", "alive", "--objective", "0.5").stdout

    assert [call["what"] for call in found["calls"]].count("page") == 1
    assert found["total"] - found["good"] == 60
    assert "1 pages; 1 without the guard" in said
    assert "0 pages; 0 without the guard" in draft


@pytest.mark.usefixtures("empty")
def test_maintenance_is_planned_listed_and_taken_back(outrider: Outrider) -> None:
    assert outrider("slo", "maintenance", "list").stdout.strip() == "none is planned."
    planned = outrider("slo", "maintenance", "plan", "disks", "--in", "1h", "--for", "30m").stdout
    (window,) = json.loads(outrider("slo", "maintenance", "list", "--json").stdout)

    assert planned.startswith(window["id"])
    assert window["end_s"] - window["start_s"] == 1800
    assert "disks" in outrider("slo", "maintenance", "list").stdout
    assert outrider("slo", "maintenance", "end", window["id"]).exit_code == 0
    assert json.loads(outrider("slo", "maintenance", "list", "--json").stdout) == []


def test_objectives_go_out_as_open_slo_and_come_back(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text(SLO)
    (folder / "objectives.yaml").write_text(outrider("slo", "export").stdout, "utf-8")
    tables = tomllib.loads(outrider("slo", "import", "objectives.yaml").stdout)

    assert tables["slo"][-1] == tomllib.loads(SLO)["slo"][0]
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in outrider("slo", "import", "binary.yaml").stderr
