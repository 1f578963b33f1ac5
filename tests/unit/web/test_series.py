"""The page of series: what it finds, what it draws, and what it says to a wrong question."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from outrider.store import keys
from outrider.web import series
from tests.unit.web.conftest import NOW_S, Fleet

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor

LATEST_S = NOW_S - 5.0  # the start of the present tick


@pytest.fixture
def measured(fleet: Fleet) -> Fleet:
    """Two hosts and the fleet, three ticks of each."""
    for place, age_s in enumerate((20.0, 10.0, 0.0)):
        values = {
            "host.cpu.used_ratio": 0.1 * (place + 1),
            "bot.canary.rss_bytes": 100.0,
            "bot.canary.jobs_total": 10.0 * place,
        }
        fleet.series("alpha", values, age_s=age_s)
        fleet.series("beta", {"host.load.1m": 1.0}, age_s=age_s)
        fleet.series(keys.FLEET, {"redis.up": 1.0}, age_s=age_s)
    return fleet


def names(answer: dict[str, Any]) -> list[str]:
    return [each["name"] for each in answer["series"]]


def test_all_series_of_the_first_host_are_listed_with_what_they_are(
    measured: Fleet, owner: Visitor
) -> None:
    del measured
    answer = owner.get("/api/series").json()
    assert [host["key"] for host in answer["hosts"]] == ["alpha", "beta", "fleet"]
    assert answer["host"] == "alpha"
    assert names(answer) == [
        "bot.canary.jobs_total", "bot.canary.rss_bytes", "host.cpu.used_ratio",
    ]  # fmt: skip
    jobs, rss, _ = answer["series"]
    assert (jobs["kind"], jobs["rate"], jobs["now"]) == ("counter", True, 20.0)
    assert (rss["unit"], rss["help"][:15]) == ("bytes", "Resident memory")


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ("RSS", ["bot.canary.rss_bytes"]),
        ("bot total", ["bot.canary.jobs_total"]),
        ("nothing", []),
        (".*", []),
    ],
)
def test_all_words_must_be_in_the_name(
    measured: Fleet, owner: Visitor, match: str, found: list[str]
) -> None:
    del measured
    answer = owner.get(f"/api/series?host=alpha&match={match}").json()
    assert (found, len(found)) == (names(answer), answer["total"])


def test_a_host_that_is_silent_for_long_still_has_its_last_series(
    fleet: Fleet, owner: Visitor
) -> None:
    fleet.series("alpha", {"host.load.1m": 1.0}, age_s=7200.0)
    assert names(owner.get("/api/series?host=alpha").json()) == ["host.load.1m"]


def test_a_long_list_is_cut_and_says_so(fleet: Fleet, owner: Visitor) -> None:
    fleet.series("alpha", {f"bot.c.n{place:03}": 1.0 for place in range(400)})
    answer = owner.get("/api/series?host=alpha").json()
    assert (len(answer["series"]), answer["total"]) == (300, 400)


def test_an_empty_store_has_no_hosts(owner: Visitor) -> None:
    answer = owner.get("/api/series")
    assert (answer.status_code, answer.json()["hosts"], answer.json()["series"]) == (200, [], [])


def test_a_series_comes_as_band_and_figures(measured: Fleet, owner: Visitor) -> None:
    del measured
    at = f"start={LATEST_S - 30}&end={LATEST_S + 10}&points=10"
    answer = owner.get(f"/api/query?host=alpha&series=host.cpu.used_ratio&{at}").json()
    assert answer["times_s"] == [LATEST_S + step for step in (-20, -10, 0)]
    assert answer["mean"] == answer["high"] == [0.1, 0.2, 0.3]
    assert (answer["least"], answer["average"], answer["greatest"]) == (0.1, 0.2, 0.3)
    assert (answer["newest"], answer["unit"], answer["tier"]) == (0.3, "ratio", "raw")


def test_a_counter_comes_as_its_rate(measured: Fleet, owner: Visitor) -> None:
    del measured
    answer = owner.get("/api/query?host=alpha&series=bot.canary.jobs_total").json()
    assert (answer["rate"], answer["newest"], answer["greatest"]) == (True, 1.0, 1.0)


def test_a_series_that_is_not_there_is_empty(measured: Fleet, owner: Visitor) -> None:
    del measured
    answer = owner.get("/api/query?host=alpha&series=bot.gone.rss_bytes").json()
    assert {answer["average"], answer["newest"], *answer["mean"]} == {None}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("host=gone&series=x", "host = 'gone' has no rows; known are: alpha, beta, fleet."),
        ("host=alpha", "series is missing"),
        ("host=alpha&series=x&start=now", "start = 'now' must be a number"),
        ("host=alpha&series=x&end=inf", "end = 'inf' must be a number"),
        ("host=alpha&series=x&start=20&end=10", "start must lie before end"),
        ("host=alpha&series=x&start=0&end=1e12", "at most 400 days"),
        ("host=alpha&series=x&points=1", "points = 1 must be a whole number from 2 to 2000"),
        ("host=alpha&series=x&points=2.5", "points = 2.5 must be"),
        ("host=alpha&series=x&points=1e9", "points = 1e+09 must be"),
        (f"host=alpha&series={'x' * 301}", "series has 301 letters"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(
    measured: Fleet, owner: Visitor, asked: str, said: str
) -> None:
    del measured
    answer = owner.get(f"/api/query?{asked}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_with_redis_away_the_answer_says_so(
    fleet: Fleet, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> list[str]:
        raise ConnectionRefusedError("no")

    monkeypatch.setattr(fleet.store, "hosts", away)
    answer = owner.get("/api/series")
    assert answer.status_code == 503
    assert "does not answer" in answer.json()["error"]


def test_a_long_range_comes_from_roll_ups_and_missing_steps_are_drawn_as_gaps(fleet: Fleet) -> None:
    fleet.series("alpha", {"host.load.1m": 1.0})
    for tick, load in ((0, 1.0), (1, 2.0), (4, 3.0)):
        summed = {"min": load, "max": load, "sum": load, "count": 1.0, "last": load}
        row = {f"host.load.1m|{what}": number for what, number in summed.items()}
        fleet.tiers.five_minutes.append("alpha", tick, row)

    given = {"host": "alpha", "series": "host.load.1m", "start": "0", "end": "1500", "points": "5"}
    answer = series.over(fleet.tiers, given, NOW_S)

    assert answer["times_s"] == [0.0, 300.0, 600.0, 1200.0]
    assert answer["mean"] == [1.0, 2.0, None, 3.0]
    assert (answer["tier"], answer["newest"]) == ("5m", 3.0)


def test_numbers_that_json_has_not_are_nothing(fleet: Fleet, owner: Visitor) -> None:
    fleet.series("alpha", {"bot.c.x": math.inf, "bot.c.y": math.nan})
    answer = owner.get("/api/series?host=alpha")
    assert [each["now"] for each in answer.json()["series"]] == [None, None]


def test_strangers_see_nothing(stranger: Visitor) -> None:
    for path in ("/series", "/api/series", "/api/query"):
        assert stranger.get(path).status_code == 401


def test_the_page_has_no_inline_script_or_style(owner: Visitor) -> None:
    page = owner.get("/series").text
    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count("<script src=")
    assert "http" not in page
