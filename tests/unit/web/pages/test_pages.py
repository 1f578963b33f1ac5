"""What all pages share: navigation, a strict policy, and the last answer while Redis is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from outrider.errors import BadArgument
from outrider.web import shell
from outrider.web.pages import kept, routes

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor
    from tests.unit.web.pages.conftest import Stored


@pytest.mark.parametrize("page", sorted(routes.MAX_AGE_S))
def test_every_page_has_the_navigation_and_nothing_inline(page: str, visitor: Visitor) -> None:
    text = visitor.get(f"/{page}").text
    for _, path, title in shell.NAVIGATION:
        assert f'<a href="{path}"' in text
        assert f">{title}</a>" in text
    assert text.count("aria-current") == (0 if page in ("bot", "host") else 1)
    assert "<style" not in text
    assert " style=" not in text
    assert text.count("<script") == text.count("<script src=")
    assert f'src="/static/{page}.js"' in text
    assert "<!-- " not in text
    assert visitor.get(f"/static/{page}.js").status_code == 200


@pytest.mark.parametrize("page", sorted(routes.MAX_AGE_S))
def test_every_page_answers_for_an_empty_fleet(page: str, visitor: Visitor) -> None:
    answer = visitor.get(f"/api/{page}")
    assert answer.status_code == 200
    assert answer.json()["problem"] is None


@pytest.mark.parametrize("page", sorted(routes.MAX_AGE_S))
def test_a_stranger_sees_no_page_and_no_data(page: str, stranger: Visitor) -> None:
    assert stranger.get(f"/{page}").status_code == 401
    assert stranger.get(f"/api/{page}").status_code == 401


def test_with_redis_away_the_last_answer_stays_with_the_problem_beside_it(
    stored: Stored, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.row({"bot.canary.up": 0.0})
    stored.fires()
    monkeypatch.setitem(routes.MAX_AGE_S, "alerts", 0.0)
    assert visitor.get("/api/alerts").json()["problem"] is None

    def away(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(stored.client, "execute_command", away)
    monkeypatch.setattr("redis.client.Pipeline.execute", away)
    page = visitor.get("/api/alerts").json()
    assert page["problem"] == "Redis at redis://db/0 does not answer; start it, or wait for it."
    assert [alert["rule"] for alert in page["alerts"]] == ["bot is down"]
    never = visitor.get("/api/changes")
    assert never.status_code == 503
    assert "does not answer" in never.json()["error"]


def test_those_who_ask_within_a_moment_share_one_answer() -> None:
    made: list[dict[str, str]] = []

    def make(asked: dict[str, str]) -> dict[str, Any]:
        made.append(asked)
        return {"n": len(made)}

    answers = kept.Kept(str)
    for asked in ({"name": "a"}, {"name": "a", "unknown": "x"}, {"name": "b"}):
        answers.answer("bot", asked, make, max_age_s=60.0)
    assert made == [{"name": "a"}, {"name": "b"}]


def test_no_more_answers_are_kept_than_there_is_room_for() -> None:
    answers = kept.Kept(str)
    for n in range(kept.MOST + 5):
        answers.answer("bot", {"name": str(n)}, dict, max_age_s=60.0)
    assert len(answers._entries) == kept.MOST


def test_a_name_of_a_megabyte_is_refused() -> None:
    with pytest.raises(BadArgument, match="name has 1000000 letters; 300 are allowed"):
        kept.Kept(str).answer("bot", {"name": "x" * 1_000_000}, dict, max_age_s=1.0)
