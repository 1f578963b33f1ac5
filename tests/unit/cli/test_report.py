from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from outrider import settings as settings_module
from outrider.analysis import state
from outrider.analysis.state import HostState
from outrider.samples import Window
from outrider.store import connection, keys
from outrider.tasks import analyse, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outrider.tasks.context import Context
    from tests.unit.cli.conftest import Outrider

HOST, TICKS = "alpha", 120
EVIL = "<script>alert(1)</script>"


def values(n: int) -> dict[str, float]:
    """The row of a tick: a calm past below nought, then a leak, and something odd at the end."""
    return {
        "bot.canary.up": 1.0,
        "bot.canary.rss_bytes": 1e8 + 1e5 * (n * 7 % 5) + 3e6 * max(0, n - 90),
        "bot.canary.updates_total": 10.0 * n,
        "host.disk.used_ratio": 0.5 + max(0, n) / 1000,
        f"bot.canary.{EVIL}": float(n % 3) + (900.0 if n >= TICKS - 3 else 0.0),
    }


@functools.cache
def taught(first: int) -> bytes:
    """Return what is learned from the six hours before a tick: what detectors take to warm up."""
    made, back = HostState(), np.arange(-6 * 360, 0)
    rows = np.array([[*values(n).values()] for n in back.tolist()])
    made.learn(
        Window(tuple(values(0)), (first + back).astype(np.float64) * 10.0, rows), interval_s=10.0
    )
    return made.dumps()


@pytest.fixture(scope="module")
def first() -> int:
    """The tick at which all hosts of this module begin, as long ago as their rows take."""
    return int(time.time() // 10) - TICKS + 1


@pytest.fixture(autouse=True)
def ctx(valkey_url: str, monkeypatch: pytest.MonkeyPatch, first: int) -> Iterator[Context]:
    """A host with twenty minutes of rows, each analysed as a worker would."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    monkeypatch.setenv("OUTRIDER_HOST", HOST)
    made = context.build(settings_module.load(), valkey_url)
    monkeypatch.setattr(context, "current", lambda: made)
    monkeypatch.setattr(analyse, "_held", {})
    last = made.tick()
    state.save(made.redis, HOST, HostState.loads(taught(first)))
    for n in range(TICKS):
        tick = last - TICKS + 1 + n
        made.store.append(HOST, tick, values(n))
        made.store.append(keys.FLEET, tick, {"fleet.hosts.live": 1.0})
        analyse._analyse(HOST, tick)
    analyse.analyse_fleet()
    analyse.analyse_baseline()
    analyse._analyse(HOST, last)
    yield made
    made.redis.close()


def reported(outrider: Outrider, *arguments: str) -> Any:
    return json.loads(outrider("report", *arguments, "--json").stdout)


def test_a_host_says_what_is_odd_what_grows_and_what_is_met_when(outrider: Outrider) -> None:
    said = outrider("report")

    assert said.exit_code == 1
    assert f"{HOST}: warning since" in said.stdout
    assert "canary leaks" in said.stdout
    for title in ("Not as usual", "Off its normal", "Trends", "Limits", "What happened"):
        assert title in said.stdout
    assert "rising" in said.stdout
    assert "host.disk.used_ratio" in said.stdout
    assert "level" in said.stdout


def test_the_same_can_be_read_as_json(outrider: Outrider) -> None:
    found = reported(outrider)

    assert (found["host"], found["state"], found["states_damaged"]) == (HOST, "warning", 0)
    (odd,) = [each for each in found["anomalies"] if EVIL in each["series"]]
    assert odd["value"] > 900 > odd["high"] >= odd["low"]
    assert "anomaly" in {each["kind"] for each in found["findings"]}
    assert [(each["kind"], each["subject"]) for each in found["causes"]] == [("leak", "canary")]
    tasks = [each["task"] for each in found["recommendations"]]
    assert "outrider.supervise.diagnose" in tasks
    assert [each["what"] for each in found["limits"]] == ["disk"]
    assert found["limits"][0]["eta_s"] == pytest.approx(3800, rel=0.2)


def test_since_says_how_far_back(outrider: Outrider) -> None:
    assert reported(outrider, "--since", "1s")["findings"] == []
    assert reported(outrider, "--since", "1h")["findings"] != []


def test_a_bot_has_its_own_report(outrider: Outrider) -> None:
    found = reported(outrider, "bot", "canary")

    assert found["bot"] == "canary"
    assert found["limits"] == []
    assert {each["series"].split(".")[1] for each in found["off_normal"]} == {"canary"}


def test_the_fleet_says_how_each_host_is(outrider: Outrider) -> None:
    found = reported(outrider, "fleet")

    assert found["host"] == keys.FLEET
    assert [(each["host"], each["state"]) for each in found["hosts"]] == [(HOST, "warning")]
    assert "Hosts" in outrider("report", "fleet").stdout


def test_the_baseline_is_told_in_words_and_numbers(outrider: Outrider) -> None:
    said = outrider("report", "baseline", "--bot", "canary")
    found = {each["series"]: each for each in reported(outrider, "baseline")}

    assert said.exit_code == 0
    assert "canary's rss is" in said.stdout
    assert "above what it is" in said.stdout
    leak = found["bot.canary.rss_bytes"]
    assert leak["now"] > leak["high"] > leak["center"] > leak["low"]
    assert leak["is_off"]
    assert found["bot.canary.updates_total"]["now"] == pytest.approx(1.0)
    assert "host.disk.used_ratio" not in said.stdout


def test_a_page_is_one_file_that_shows_what_the_text_says(outrider: Outrider, folder: Path) -> None:
    said = outrider("report", "--html", "report.html")
    made = (folder / "report.html").read_text("utf-8")

    assert said.exit_code == 1
    assert "pictures" in said.stderr
    assert made.count("<svg") >= 3
    assert "canary leaks" in made
    assert EVIL not in made
    assert "&lt;script&gt;" in made


def test_a_warning_ends_with_one(outrider: Outrider, ctx: Context) -> None:
    raw: Any = ctx.redis.get(keys.report(HOST))
    worse = json.loads(raw) | {"state": "critical"}
    ctx.redis.set(keys.report(HOST), json.dumps(worse))

    assert outrider("report").exit_code == 1
    assert outrider("report", "fleet").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["host", "nope"], "host = 'nope' has no report; hosts with rows are: alpha, fleet."),
        (["bot", "nope"], "bot = 'nope' is in no host's newest row; known are: canary."),
        (["bot"], "bot needs a name"),
        (["weather"], "'weather' is no report; known: host, bot, fleet, baseline."),
        (["--since", "soon"], "--since 'soon' is not a duration"),
        (["baseline", "--host", "nope"], "nothing is known yet of what is normal for host 'nope'"),
        (["baseline", "--html", "x.html"], "baseline has no page"),
        (["--html", "no/such/folder.html"], "can't be written"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(
    outrider: Outrider, arguments: list[str], words: str
) -> None:
    said = outrider("report", *arguments)

    assert said.exit_code == 2
    assert words in said.stderr


def test_a_report_that_is_damaged_is_as_none(outrider: Outrider, ctx: Context) -> None:
    ctx.redis.set(keys.report(HOST), b"{not json")

    assert outrider("report").exit_code == 2


def test_a_tick_is_learned_once_and_a_newer_report_stands(ctx: Context) -> None:
    before: Any = ctx.redis.get(keys.report(HOST))
    newest = json.loads(before)["tick"]
    found = ctx.redis.zcard(keys.findings(HOST))

    for tick in (newest, newest - 5, newest - 100):
        told = analyse._analyse(HOST, tick)
        assert told["state"] == "warning"

    after: Any = ctx.redis.get(keys.report(HOST))
    assert json.loads(after) == json.loads(before)
    assert ctx.redis.zcard(keys.findings(HOST)) == found


def test_another_worker_goes_on_with_the_state(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = analyse._held[HOST].tick + 1
    ctx.store.append(HOST, tick, {"bot.canary.up": 1.0, "bot.canary.updates_total": 1300.0})
    here = analyse._held[HOST]
    monkeypatch.setattr(analyse, "_held", {})
    analyse._analyse(HOST, tick)
    there = analyse._held[HOST]
    window = ctx.store.window(HOST, (tick - 60) * 10.0, (tick + 1) * 10.0)
    here.learn(window, interval_s=10.0)

    assert there is not here
    assert (there.tick, there.names) == (here.tick, here.names)
    assert there.normal.dumps() == here.normal.dumps()
    assert there.changes.dumps() == here.changes.dumps()


def test_what_is_written_has_an_end(ctx: Context) -> None:
    for key in (keys.report(HOST), keys.baseline(HOST), keys.outlook(HOST), keys.analysis(HOST)):
        assert 0 < ctx.redis.ttl(key) <= 14 * 86_400
    stored: Any = ctx.redis.get(keys.baseline(HOST))
    assert "bot.canary.rss_bytes" in json.loads(stored)["series"]
    assert time.time() - json.loads(stored)["at_s"] < 600


def test_without_redis_it_says_so(outrider: Outrider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", "redis://127.0.0.1:1/0")

    assert outrider("report").exit_code == 3
    assert connection.without_password("redis://127.0.0.1:1/0") in outrider("report").stderr


def test_a_worker_that_takes_over_learns_what_came_since_the_state_was_written(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = ctx.tick()
    held = analyse._held[HOST]
    stored = HostState.loads(taught(last - TICKS + 1))
    ctx.redis.delete(keys.analysis(HOST))
    state.save(ctx.redis, HOST, stored)
    monkeypatch.setattr(analyse, "_held", {})

    analyse._analyse(HOST, last)

    # The window is ten minutes; what was stored was twenty minutes old.
    taken_over = analyse._held[HOST]
    assert taken_over.tick == held.tick
    assert taken_over.detectors.clock.ticks - stored.detectors.clock.ticks >= TICKS - 1
