"""The page of series, as a browser really shows it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import INTERVAL_S, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def measured(fleet: Fleet) -> Fleet:
    """Two minutes of one host, with ten ticks missing in the middle."""
    for ago in range(60, -1, -1):
        if not 20 < ago <= 30:
            values = {
                "host__cpu__used_ratio": 0.25 if ago else 0.5,
                "bot__canary__rss_bytes": 2.0**20 * (100 + ago),
                "bot__canary__jobs_total": 40.0 * (60 - ago),
                f"bot__canary__{EVIL}": 1.0,
            }
            fleet.row("alpha", ticks_ago=ago, **values)
    return fleet


@pytest.fixture
def page(measured: Fleet, visit: Callable[..., Page], address: str, token: str) -> Page:
    del measured
    opened = visit(f"{address}/?token={token}")
    opened.goto(f"{address}/series")
    return opened


def test_finding_and_choosing_a_series_draws_it_and_is_in_the_address(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.get_by_label("Find")).to_be_focused()
    page.keyboard.type("RSS canary")
    expect(page.locator("#names button")).to_have_text(["bot.canary.rss_bytes100\u00a0MiB"])
    page.locator("#names button").press("Enter")
    card = page.locator(".card")
    expect(card.locator("h2")).to_have_text("bot.canary.rss_bytes")
    expect(card).to_contain_text("Resident memory")
    expect(card.locator(".figures")).to_contain_text("greatest 160\u00a0MiB")
    assert page.url.endswith("/series?host=alpha&match=RSS+canary&s=bot.canary.rss_bytes")
    expect(page.locator("#names button")).to_have_attribute("aria-pressed", "true")


def test_the_address_brings_everything_back(page: Page, address: str) -> None:
    page.goto(f"{address}/series?host=alpha&match=cpu&s=host.cpu.used_ratio&range=6h")
    expect(page.locator(".card h2")).to_have_text("host.cpu.used_ratio")
    expect(page.get_by_label("6h")).to_be_checked()
    expect(page.get_by_label("Find")).to_have_value("cpu")
    page.get_by_label("Remove host.cpu.used_ratio").click()
    expect(page.locator(".card")).to_have_count(0)
    page.go_back()
    expect(page.locator(".card h2")).to_have_text("host.cpu.used_ratio")


def test_a_counter_is_drawn_as_its_rate(page: Page, address: str) -> None:
    page.goto(f"{address}/series?host=alpha&s=bot.canary.jobs_total")
    rate = f"{40 / INTERVAL_S:g}/s"
    expect(page.locator(".figures")).to_contain_text(f"rate now {rate} · mean {rate}")


def test_a_gap_is_drawn_as_a_gap(page: Page, address: str) -> None:
    now_s = int(time.time())
    page.goto(
        f"{address}/series?host=alpha&s=host.cpu.used_ratio&from={now_s - 120}&to={now_s + 4}"
    )
    expect(page.locator(".figures")).to_contain_text("greatest 50\u00a0%")
    answer = page.evaluate(
        """async (now) => (await (await fetch(`/api/query?host=alpha&series=host.cpu.used_ratio` +
        `&start=${now - 120}&end=${now + 4}&points=200`)).json()).mean""",
        now_s,
    )
    first = next(place for place, value in enumerate(answer) if value is not None)
    assert None in answer[first : first + 55]


def test_dragging_looks_closer_and_a_double_click_goes_back(page: Page, address: str) -> None:
    page.goto(f"{address}/series?host=alpha&s=host.cpu.used_ratio")
    expect(page.locator(".figures")).to_contain_text("greatest")
    over = page.locator(".u-over").bounding_box()
    assert over
    y = over["y"] + over["height"] / 2
    page.mouse.move(over["x"] + over["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(over["x"] + over["width"] * 0.9, y, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=\d+&to=\d+"))
    expect(page.locator("#span")).to_contain_text(" to ")
    page.locator(".u-over").dblclick()
    expect(page).not_to_have_url(re.compile("from="))
    expect(page.get_by_label("1h")).to_be_checked()


def test_the_cursor_tells_the_values_under_it(page: Page, address: str) -> None:
    page.goto(f"{address}/series?host=alpha&s=host.cpu.used_ratio")
    expect(page.locator(".figures")).to_contain_text("greatest")
    over = page.locator(".u-over").bounding_box()
    assert over
    page.mouse.move(over["x"] + over["width"] - 2, over["y"] + 20)
    expect(page.locator(".figures")).to_have_text(re.compile(r"\d\d:\d\d: \d+\u00a0%"))


def test_markup_in_names_is_shown_and_never_run(page: Page, address: str) -> None:
    page.goto(f"{address}/series?host=alpha&match=img")
    page.locator("#names button").click()
    expect(page.locator(".card h2")).to_contain_text("<img src=x")
    assert page.locator("main img").count() == 0


def test_a_host_that_is_gone_is_said_in_a_banner(
    measured: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    del measured
    page = visit(f"{address}/?token={token}", expected="status of 400")
    page.goto(f"{address}/series?host=gone&s=host.cpu.used_ratio")
    expect(page.locator("#banner")).to_contain_text("host = 'gone' has no rows")


def test_the_ranges_are_chosen_by_keyboard(page: Page) -> None:
    page.get_by_label("1h").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("6h")).to_be_checked()
    expect(page).to_have_url(re.compile("range=6h"))


def test_a_bot_of_the_fleet_leads_to_its_series(measured: Fleet, page: Page, address: str) -> None:
    measured.bots({"name": "canary", "bot": "canary", "state": "ready"})
    page.goto(address)
    page.locator("#bots td.bot a").click()
    page.get_by_role("link", name="all its series").click()
    expect(page).to_have_url(re.compile(r"/series\?host=alpha&match=bot\.canary\."))
    expect(page.locator("#names button")).to_have_count(3)


def test_a_phone_shows_it_without_scrolling_sideways(
    measured: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    del measured
    page = visit(f"{address}/?token={token}", width=360)
    page.goto(f"{address}/series?host=alpha&s=bot.canary.rss_bytes")
    expect(page.locator(".figures")).to_contain_text("greatest")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_an_empty_fleet_says_what_to_run(
    visit: Callable[..., Page], address: str, token: str
) -> None:
    page = visit(f"{address}/?token={token}")
    page.goto(f"{address}/series")
    expect(page.locator("#found")).to_contain_text("outrider up")
