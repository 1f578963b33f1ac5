from __future__ import annotations

import csv
import json
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from outrider import sketch
from outrider.cli import export as records
from outrider.settings import Retention
from outrider.store import connection, tiers, upkeep
from outrider.store.redis import RedisStore
from outrider.store.sketches import SketchStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider

EVIL = "=cmd()|'/c calc'!\x1b[2J"
SHOWN = "'=cmd()|'/c calc'!\N{REPLACEMENT CHARACTER}[2J"
NOW_S = time.time() // 3600 * 3600 + 1800  # half past: the hour before is over
START_S = NOW_S - 3 * 3600


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW_S)


@pytest.fixture(autouse=True)
def seeded(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hours of rows of two hosts, rolled up; one with a timing, one with a hostile name."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_INTERVAL_S", "60")
    with connection.connect(valkey_url) as client:
        stores = tiers.of_redis(
            RedisStore("", interval_s=60.0, client=client), Retention(), client=client
        )
        sketches = SketchStore(client, interval_s=60.0, retention=Retention())
        for number in range(3 * 60):
            tick = int(START_S // 60) + number
            spike = 100.0 if number == 83 else 0.0
            row = {
                "host.cpu.used_ratio": 0.25, "bot.a.updates_total": 30.0 * number,
                "bot.a.queue": spike, "bot.a.handle.count": float(number),
            }  # fmt: skip
            stores.raw.append("alpha", tick, row)
            sketches.append("alpha", tick, {"bot.a.handle": sketch.of([0.1, 0.2])})
            if number % 10 == 0:
                stores.raw.append("beta", tick, {EVIL: math.nan, "host.load.1m": math.inf})
        for host in ("alpha", "beta"):
            upkeep.seal(stores, sketches, host, NOW_S + 7200)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_series_are_listed_with_kind_last_value_and_last_hour(outrider: Outrider) -> None:
    said = outrider("metrics", "list", "bot.*")
    lines = [line.split() for line in said.stdout.splitlines()]

    assert said.exit_code == 0
    assert lines[-1][:4] == ["bot.a.updates_total", "alpha", "counter", "5,370"]
    assert "host.cpu" not in said.stdout
    assert "\x1b[2J" not in outrider("metrics", "list").stdout


def test_a_list_as_json_is_json_also_with_nan_and_infinity(outrider: Outrider) -> None:
    found = json.loads(outrider("metrics", "list", "--host", "beta", "--json").stdout)

    assert {entry["series"]: entry["last"] for entry in found} == {EVIL: None, "host.load.1m": None}


def test_a_silent_host_is_listed_from_what_is_left(outrider: Outrider, valkey_url: str) -> None:
    RedisStore(valkey_url, interval_s=60.0).expire("alpha", math.inf)
    said = outrider("metrics", "list", "bot.a.updates_total")

    assert said.exit_code == 0
    assert "5,370" in said.stdout


def test_a_series_is_drawn_with_its_numbers(outrider: Outrider) -> None:
    said = outrider("metrics", "show", "bot.a.queue", "--since", "3h", "--points", "20")

    assert said.exit_code == 0
    assert "bot.a.queue  alpha" in said.stdout
    assert "max 100" in said.stdout
    assert "░" in said.stdout


def test_a_counter_is_shown_as_a_rate_and_its_total(outrider: Outrider) -> None:
    said = outrider("metrics", "show", "bot.a.updates_total", "--since", "2h")

    assert "mean 0.5/s" in said.stdout
    assert "last 5,370" in said.stdout


@pytest.mark.parametrize("series", ["bot.a.handle", "bot.a.handle.count"])
def test_a_timing_comes_with_the_quantiles_of_all_its_calls(
    series: str, outrider: Outrider
) -> None:
    found = json.loads(outrider("metrics", "show", series, "--since", "3h", "--json").stdout)

    assert found[0]["series"] == "bot.a.handle.count"
    assert found[0]["quantiles"] == pytest.approx(
        {"p50_s": 0.1, "p95_s": 0.2, "p99_s": 0.2}, rel=0.011
    )


@pytest.mark.parametrize("points", [10, 36, 2000])
def test_no_spike_vanishes_whatever_is_read(points: int, outrider: Outrider) -> None:
    arguments = ("metrics", "show", "bot.a.queue", "--since", "3h", "--points", str(points))
    (found,) = json.loads(outrider(*arguments, "--json").stdout)

    assert max(found["high"]) == 100.0
    assert len(found["times_s"]) <= points


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("list", "nothing.*"),
            "no series 'nothing.*'; known: =cmd()|'/c calc'!\ufffd[2J.*, bot.*, host.*",
        ),
        (("list", "--host", "gamma"), "--host gamma: no such host has series; known: alpha, beta."),
        (("show", "bot.a.que"), "no series 'bot.a.que' between 24h and now; near: bot.a.queue"),
        (("show", "bot.a.queue", "--since", "yesterday"), "--since 'yesterday' is no time; write"),
        (("show", "bot.a.queue", "--since", "-5"), "--since '-5' is no time"),
        (("show", "bot.a.queue", "--since", "7"), "--since '7' is no time"),
        (("show", "bot.a.queue", "--since", "1h", "--until", "2h"), "is not before --until 2h."),
        (("show", "bot.a.queue", "--since", "30d", "--until", "20d"), "no series 'bot.a.queue'"),
        (("export", "nothing"), "no series 'nothing' between 24h and now at step raw; known"),
        (("export", "*", "--out", "/nowhere/x.csv"), "--out /nowhere/x.csv: can't be written"),
        (("export",), "Missing argument 'PATTERN...'"),
        (("export", "*", "--step", "7m"), "'7m' is not one of"),
    ],
)
def test_bad_input_is_answered_with_what_is_known(
    arguments: tuple[str, ...], words: str, outrider: Outrider
) -> None:
    said = outrider("metrics", *arguments)

    assert said.exit_code == 2
    assert words in said.stderr


def test_without_redis_the_exit_code_is_3(
    outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTRIDER_REDIS_URL")

    assert outrider("metrics", "list").exit_code == 3


def test_raw_samples_are_exported_as_csv_and_formulas_disarmed(
    outrider: Outrider, folder: Path
) -> None:
    said = outrider("metrics", "export", "*", "--out", "all.csv", "--since", "4h")
    rows = read_csv((folder / "all.csv").read_text())

    assert said.exit_code == 0
    assert "756 records of step raw -> all.csv" in said.stderr
    assert len(rows) == 4 * 180 + 2 * 18
    beta = [row for row in rows if row["host"] == "beta"]
    assert {row["series"] for row in beta} == {SHOWN, "host.load.1m"}
    assert {row["value"] for row in beta} == {"nan", "inf"}
    assert float(rows[0]["time_s"]) == START_S
    assert rows[0]["time"].endswith("Z")
    assert [path.name for path in folder.iterdir()] == ["all.csv"]


def test_hours_are_exported_with_their_aggregates(outrider: Outrider) -> None:
    said = outrider(
        "metrics", "export", "bot.a.*", "--step", "1h", "--host", "alpha", "--format", "json"
    )
    found = {(row["series"], row["time_s"]): row for row in json.loads(said.stdout)}
    hour_s = START_S + 1800

    assert {at_s for _, at_s in found} == {
        hour_s + 3600 * n for n in (-1, 0, 1)
    }  # not the last half
    queue = found["bot.a.queue", hour_s]
    assert (queue["max"], queue["count"], queue["increase"]) == (100.0, 60.0, None)
    updates = found["bot.a.updates_total", hour_s]
    assert (updates["increase"], updates["rate_per_s"], updates["min"]) == (1800.0, 0.5, None)


def test_json_is_json_also_with_nan_and_infinity(outrider: Outrider) -> None:
    said = outrider("metrics", "export", "*", "--host", "beta", "--format", "json")
    found = json.loads(said.stdout, parse_constant=pytest.fail)

    assert {row["value"] for row in found} == {None, math.inf}
    assert {row["series"] for row in found} == {EVIL, "host.load.1m"}


@pytest.mark.parametrize("step", ["raw", "5m"])
def test_parquet_holds_the_same_as_csv(step: str, outrider: Outrider, folder: Path) -> None:
    for name in ("a.parquet", "a.csv"):
        outrider("metrics", "export", "bot.*", "--step", step, "--out", name)
    table = pq.read_table(folder / "a.parquet")
    rows = read_csv((folder / "a.csv").read_text())

    assert len(rows) == table.num_rows > 0
    assert [float(row["time_s"]) for row in rows] == table["time_s"].to_pylist()
    assert [row["series"] for row in rows] == table["series"].to_pylist()
    column = "value" if step == "raw" else "last"
    assert [float(row[column]) for row in rows] == table[column].to_pylist()
    assert table["time"][0].as_py().timestamp() == float(rows[0]["time_s"])


def test_parquet_without_pyarrow_names_the_remedy(
    outrider: Outrider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = outrider("metrics", "export", "*", "--out", "a.parquet")

    assert said.exit_code == 2
    assert "pip install 'outrider[parquet]'" in said.stderr
    assert list(folder.iterdir()) == []


def test_an_export_that_is_stopped_leaves_no_file_and_the_old_one_whole(
    outrider: Outrider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv").write_text("old")
    calls: list[Any] = []

    def stopped(*_: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return [("t", 1.0, "h", "s", 2.0)]

    monkeypatch.setattr(records, "records", stopped)
    said = outrider("metrics", "export", "*", "--out", "a.csv", "--since", "47h")

    assert said.exit_code == 1
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert (folder / "a.csv").read_text() == "old"


def test_auto_takes_the_finest_step_that_goes_back_far_enough(outrider: Outrider) -> None:
    for since, step in (("4h", "raw"), ("20d", "5m"), ("300d", "1h")):
        said = outrider("metrics", "export", "bot.a.queue", "--since", since)
        assert f"records of step {step}" in said.stderr
