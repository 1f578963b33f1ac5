"""What an operator sees, as a browser really shows it."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from outrider.analysis import report
from outrider.analysis.state import HostState
from outrider.cache import keys as cache_keys
from outrider.samples import Window
from outrider.store import keys
from tests.browser.conftest import Fleet
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def well(fleet: Fleet) -> Fleet:
    """One host, two bots, measured right now."""
    fleet.bots(
        {"name": "canary", "bot": "canary", "state": "ready", "restarts": 3},
        {"name": "echo", "bot": "echo", "state": "ready"},
    )
    fleet.row(
        host__cpu__used_ratio=0.25,
        host__memory__used_ratio=0.5,
        bot__canary__up=1.0,
        bot__canary__rss_bytes=64 * 2**20,
        bot__canary__uptime_s=7260.0,
    )
    return fleet


def test_the_first_screen_answers_how_the_fleet_does(well: Fleet, page: Page) -> None:
    del well
    expect(page.get_by_role("heading", level=1)).to_have_text("All 2 bots are healthy.")
    row = page.get_by_role("row").filter(has_text="canary")
    for words in ("ready", "alpha", "2 h 1 m", "64 MiB", "3"):
        expect(row).to_contain_text(words.replace(" ", "\u00a0") if "M" in words else words)
    expect(page.locator(".host")).to_contain_text("25\u00a0%")


def test_caches_show_hits_by_tier_and_what_warming_did(well: Fleet, page: Page) -> None:
    plan: Any = {"ahead": 7, "useful": 6, "wasted": 1, "extra": 1, "off": ""}
    well.redis.hset(cache_keys.plan("prices"), mapping=plan)
    for ticks_ago, hits in ((9, 0.0), (8, 40.0), (7, 80.0)):  # the newest is taken
        well.row(
            ticks_ago=ticks_ago,
            bot__canary__up=1.0,
            bot__canary__cache__prices__hits_total=hits,
            bot__canary__cache__prices__hits_redis_total=hits / 2,
            bot__canary__cache__prices__misses_total=hits / 4,
            bot__canary__cache__prices__warmed_hits_total=hits / 8,
        )
    row = page.get_by_role("row").filter(has_text="prices")
    for words in ("100", "80\u00a0%", "40\u00a0%", "10", "6 useful, 1 wasted"):
        expect(row).to_contain_text(words)
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_what_is_odd_is_drawn_and_its_names_are_only_text(fleet: Fleet, page: Page) -> None:
    names, last = (f"bot.a.{EVIL}", "host.cpu.used_ratio"), int(time.time() // 2)
    times = np.arange(last - 60, last + 1, dtype=np.float64) * 2.0
    values = np.array([[5.0 + n % 3, 0.2] for n in range(61)])
    values[-1, 0] = 900
    for at_s, row in zip(times.tolist(), values.tolist(), strict=True):
        fleet.store.append("alpha", int(at_s // 2), dict(zip(names, row, strict=True)))
    made, _ = report.build(
        Window(names, times, values), host="alpha", tick=last, interval_s=2.0, state=HostState()
    )
    fleet.redis.set(keys.report("alpha"), json.dumps(made))
    fleet.redis.zadd(keys.HOSTS, {"alpha": time.time()})
    page.reload()

    picture = page.locator("#analysis-pictures figure").filter(has_text=EVIL)
    expect(picture.locator("svg path.line")).to_have_count(1)
    expect(page.locator("#analysis-tables")).to_contain_text("Off its normal")


def test_a_new_row_shows_without_a_reload(well: Fleet, page: Page) -> None:
    cpu = page.locator(".metric strong").first
    expect(cpu).to_have_text("25\u00a0%")
    page.evaluate("window.sameDocument = true")
    well.row(ticks_ago=-1, host__cpu__used_ratio=0.75)
    expect(cpu).to_have_text("75\u00a0%")
    assert page.evaluate("window.sameDocument")


def test_a_bot_that_fails_changes_the_verdict_and_is_shown_first(well: Fleet, page: Page) -> None:
    expect(page.locator("#sentence")).to_have_text("All 2 bots are healthy.")
    well.bots(
        {"name": "canary", "state": "ready"},
        {"name": "echo", "state": "failed", "since_s": time.time(), "reason": "exit code 1"},
    )
    expect(page.locator("#sentence")).to_have_text(
        re.compile(r"1 of 2 bots is down: echo since \d\d:\d\d\.")
    )
    expect(page.locator("#bots tr").first).to_contain_text("exit code 1")
    # Never by colour alone: the icon changes, and the word beside it says the same.
    cell = page.locator("#bots tr").first.locator("td.state")
    expect(cell).to_have_text("failed")
    assert cell.locator("use").get_attribute("href") == "#i-critical"


def test_alerts_are_listed_and_announced(well: Fleet, page: Page) -> None:
    expect(page.locator("#sentence")).to_have_text("All 2 bots are healthy.")
    well.alert(rule="pool nearly empty", instance="canary", severity="critical", state="firing",
               since_s=time.time(), summary="18 of 20 in use")  # fmt: skip
    well.event(who="supervisor", what="restart", bot="canary", result="ok")
    expect(page.locator("#alerts")).to_contain_text("18 of 20 in use")
    expect(page.locator("#announce")).to_have_text("New alert: pool nearly empty on canary (alpha)")
    assert page.locator("#announce").get_attribute("aria-live") == "polite"


def test_markup_in_names_is_shown_and_never_run(well: Fleet, page: Page) -> None:
    well.bots({"name": EVIL, "state": "failed", "reason": EVIL})
    well.alert(rule=EVIL, instance=EVIL, severity="critical", state="firing", summary=EVIL)
    well.event(who=EVIL, what=EVIL, bot=EVIL, why=EVIL, result=EVIL)
    for part in ("#sentence", "#bots", "#alerts", "#events"):
        expect(page.locator(part)).to_contain_text(EVIL)
    assert page.locator("main img, main script").count() == 0


def test_data_grows_old_before_the_eyes(well: Fleet, page: Page) -> None:
    del well
    expect(page.locator("body")).not_to_have_attribute("data-stale", "")
    expect(page.locator("body")).to_have_attribute("data-stale", "")
    expect(page.locator("#sentence")).to_have_text(re.compile("Nothing was measured since"))


def test_an_empty_fleet_says_what_to_run(page: Page) -> None:
    expect(page.locator("#sentence")).to_have_text("Nothing has reported yet.")
    for empty in ("#hosts-empty", "#bots-empty"):
        expect(page.locator(empty)).to_contain_text("outrider up")


def test_the_table_sorts_by_keyboard(well: Fleet, page: Page) -> None:
    well.bots({"name": "canary", "state": "ready"}, {"name": "echo", "state": "failed"})
    names = page.locator("#bots td.bot a")
    expect(names).to_have_text(["echo", "canary"])
    page.get_by_role("button", name="Bot", exact=True).press("Enter")
    expect(names).to_have_text(["canary", "echo"])
    expect(page.get_by_role("columnheader", name="Bot")).to_have_attribute("aria-sort", "ascending")


def test_a_phone_shows_everything_without_scrolling_sideways(
    well: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    well.bots({"name": "a-bot-with-quite-a-long-name-" * 2, "state": "ready", "reason": EVIL})
    page = visit(f"{address}/?token={token}", width=360)
    expect(page.locator("#bots")).to_contain_text("long-name")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_the_token_there_is_only_a_door(
    well: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    del well
    page = visit(address, expected="status of 401")
    expect(page.get_by_role("heading")).to_have_text("This dashboard needs its token")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#sentence")).to_have_text("All 2 bots are healthy.")
    assert page.url == f"{address}/"


def test_with_redis_gone_the_last_frame_stays_under_a_banner(
    visit: Callable[..., Page], serve: Callable[[str], str], token: str
) -> None:
    with Server() as server:
        fleet = Fleet(server.url)
        fleet.bots({"name": "canary", "state": "ready"})
        fleet.row(host__cpu__used_ratio=0.25)
        # What it asks beside the stream may meet the outage.
        page = visit(f"{serve(server.url)}/?token={token}", expected="status of 503")
        expect(page.locator("#bots")).to_contain_text("canary")
        fleet.redis.close()
        fleet.store._redis.close()
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator("#bots")).to_contain_text("canary")
    expect(page.locator("body")).to_have_attribute("data-stale", "")
    expect(page.locator("#sentence")).to_contain_text("The fleet can't be seen now.")
