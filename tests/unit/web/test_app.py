"""The routes, with Redis there and with Redis away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.web.conftest import Fleet, Visitor


def test_the_page_has_no_inline_script_or_style(owner: Visitor) -> None:
    page = owner.get("/").text
    assert "<style" not in page
    assert " style=" not in page
    assert " on" + "click=" not in page
    assert page.count("<script") == page.count("<script src=")
    assert "http" not in page.replace("http-equiv", "")


def test_status_is_the_snapshot(fleet: Fleet, owner: Visitor) -> None:
    fleet.healthy()
    status = owner.get("/api/status").json()
    assert (status["verdict"]["text"], status["problem"]) == ("The bot is healthy.", None)
    assert status["links"] == {"flower": "http://127.0.0.1:5555"}


def test_many_askers_share_one_look(fleet: Fleet, owner: Visitor) -> None:
    fleet.healthy()
    owner.get("/api/status")
    calls = fleet.shelf.calls
    owner.get("/api/status")
    assert calls == fleet.shelf.calls


def test_ready_when_every_live_host_has_a_fresh_row(fleet: Fleet, owner: Visitor) -> None:
    fleet.healthy()
    fleet.beat("gone", age_s=500.0)
    answer = owner.get("/readyz")
    assert (answer.status_code, answer.json()["hosts"]) == (200, {"alpha": 5.0})


@pytest.mark.parametrize(("age_s", "status"), [(20.0, 200), (30.0, 503)])
def test_three_intervals_without_a_row_are_too_many(
    fleet: Fleet, owner: Visitor, age_s: float, status: int
) -> None:
    fleet.beat()
    fleet.row(age_s=age_s, host__load__1m=1.0)
    answer = owner.get("/readyz")
    assert status == answer.status_code
    assert (status == 503) == ("alpha" in answer.json().get("reason", ""))


def test_not_ready_while_a_live_host_has_no_row(fleet: Fleet, owner: Visitor) -> None:
    fleet.healthy()
    fleet.beat("beta")
    answer = owner.get("/readyz")
    assert answer.status_code == 503
    assert "no fresh row from beta" in answer.json()["reason"]


def test_not_ready_without_any_host(owner: Visitor) -> None:
    answer = owner.get("/readyz")
    assert answer.status_code == 503
    assert "outrider up" in answer.json()["reason"]


def test_with_redis_away_the_last_state_stays_and_says_so(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    known = fleet.healthy().source()
    assert known.look()["verdict"]["text"] == "The bot is healthy."
    fleet.shelf.away = True
    fleet.now_s += 60
    lost = known.look()
    assert lost["verdict"]["text"].startswith("The fleet can't be seen now. What is shown was")
    assert (lost["bots"][0]["name"], lost["fresh"], lost["data_age_s"]) == ("canary", False, 65.0)
    assert "redis://***@db:6379/0 does not answer" in lost["problem"]["text"]
    known.look()
    fleet.shelf.away = False
    assert known.look()["problem"] is None
    assert len(caplog.records) == 2  # told once that it went, once that it came back


def test_with_redis_away_from_the_start_every_route_answers(fleet: Fleet, owner: Visitor) -> None:
    fleet.shelf.away = True
    status = owner.get("/api/status")
    assert (status.status_code, status.json()["hosts"]) == (200, [])
    ready = owner.get("/readyz")
    assert ready.status_code == 503
    assert "does not answer" in ready.json()["reason"]
    assert "outrider_dashboard_redis_up 0.0" in owner.get("/metrics").text
    assert [owner.get(path).status_code for path in ("/", "/healthz")] == [200, 200]


def test_a_fault_of_ours_shows_no_trace(
    fleet: Fleet, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise ValueError("a secret detail")

    monkeypatch.setattr(owner.app.state.source, "rows", fails)
    answer = owner.get("/metrics")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers


def test_metrics_follow_the_accept_header(fleet: Fleet, owner: Visitor) -> None:
    fleet.healthy()
    plain = owner.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'outrider_host_cpu_used_ratio{host="alpha"} 0.25' in plain.text
    openly = owner.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert openly.headers["content-type"].startswith("application/openmetrics-text")
    assert openly.text.endswith("# EOF\n")


def test_what_is_large_is_compressed_and_the_stream_and_the_door_are_not(
    owner: Visitor, stranger: Visitor
) -> None:
    path = "/static/vendor/uPlot.iife.min.js"
    small = owner.get(path, {"Accept-Encoding": "gzip"})
    plain = owner.get(path, {"Accept-Encoding": "identity"})
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert small.content == plain.content
    assert "accept-encoding" in small.headers["vary"].lower()
    # One name for both forms, which is why it is weak; either is known again by it.
    assert small.headers["etag"] == plain.headers["etag"]
    assert small.headers["etag"].startswith("W/")
    again = owner.get(path, {"If-None-Match": small.headers["etag"], "Accept-Encoding": "gzip"})
    assert (again.status_code, again.content) == (304, b"")
    me = owner.get("/api/me", {"Accept-Encoding": "gzip"})
    assert "content-encoding" not in me.headers
    stranger.headers.pop("Authorization", None)
    door = stranger.get("/", {"Accept-Encoding": "gzip", "Accept": "text/html"})
    assert "content-encoding" not in door.headers
