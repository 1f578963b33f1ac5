"""What the page says of a bot's work comes from the series that the bot has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.web import recent, work

if TYPE_CHECKING:
    from typing import Any

    from tests.unit.web.conftest import Fleet


def of(fleet: Fleet, bot: str = "c") -> dict[str, Any]:
    return work.of(recent.read(fleet.store, "alpha", fleet.now_s), bot, over_s=60.0)


def test_a_bot_that_is_not_instrumented_has_nothing(fleet: Fleet) -> None:
    fleet.series("alpha", {"bot.c.rss_bytes": 1.0})
    nothing = {"handler_s", "api_per_min", "api_limited_per_min", "cache_hit_ratio"}
    assert {of(fleet)[name] for name in nothing} == {None}


def test_the_slowest_handler_is_named(fleet: Fleet) -> None:
    fleet.series(
        "alpha",
        {
            "bot.c.handler.start.p95_s": 0.2,
            "bot.c.handler.on.message.p95_s": 0.5,
            "bot.c.handler.start.max_s": 9.0,
            "bot.d.handler.start.p95_s": 7.0,
        },
    )
    found = of(fleet)
    assert (found["handler_s"], found["handler"]) == (0.5, "handler.on.message")
    assert found["handler_part"] == "p95"


def test_without_quantiles_the_longest_call_is_shown_and_called_so(fleet: Fleet) -> None:
    fleet.series("alpha", {"bot.c.handle_update.max_s": 0.3, "bot.c.fetch.max_s": 3.0})
    found = of(fleet)
    assert (found["handler_s"], found["handler"]) == (0.3, "handle_update")
    assert found["handler_part"] == "max"


def test_calls_of_all_methods_are_added_and_waits_are_no_calls(fleet: Fleet) -> None:
    for place, age_s in enumerate((60.0, 0.0)):
        values = {
            "bot.c.api.a.count": 30.0 * place,
            "bot.c.api.b.count": 60.0 * place,
            "bot.c.api.b.wait.count": 600.0 * place,
            "bot.c.api.b.limited_total": 3.0 * place,
        }
        fleet.series("alpha", values, age_s=age_s)
    found = of(fleet)
    assert (found["api_per_min"], found["api_limited_per_min"]) == (90.0, 3.0)


def test_the_hit_ratio_is_of_the_last_minute(fleet: Fleet) -> None:
    for place, age_s in enumerate((60.0, 0.0)):
        values = {
            "bot.c.cache.n.hits_total": 1000.0 + 30.0 * place,
            "bot.c.cache.n.misses_total": 9.0 * place,
            "bot.c.cache.n.waits_total": 1.0 * place,
        }
        fleet.series("alpha", values, age_s=age_s)
    assert of(fleet)["cache_hit_ratio"] == 0.75


def test_errors_are_of_all_handlers_and_nought_where_none_raised(fleet: Fleet) -> None:
    for place, age_s in enumerate((60.0, 0.0)):
        values = {
            "bot.c.handler.start.count": 5.0,
            "bot.c.handler.start.errors_total": 2.0 * place,
            "bot.c.handle_update.errors_total": 1.0 * place,
            "bot.c.db.errors_total": 50.0 * place,
            "bot.well.handler.start.count": 5.0,
            "bot.plain.rss_bytes": 1.0,
        }
        fleet.series("alpha", values, age_s=age_s)
    found = {bot: of(fleet, bot)["errors_per_min"] for bot in ("c", "well", "plain")}
    assert found == {"c": 3.0, "well": 0.0, "plain": None}
