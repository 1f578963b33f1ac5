"""The pages beside the first one, and an operator's way through them."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from outrider.alerts import acknowledgement, journal, silences
from outrider.alerts.state import Alert, Transition
from outrider.store import keys
from tests.browser.conftest import TOKEN, Fleet
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
PAGES = ("alerts", "slo", "database", "cache", "queues", "changes", "bot", "host", "series", "")
ACK_KEY = "alpha|bot is down|bot.canary.up"
CRASH = {
    "at_s": 1.0, "name": "canary", "pid": 7, "code": -9, "words": "killed by SIGKILL",
    "lived_s": 61.0, "crashes": 3, "then": "starting", "log": ["out of memory"],
    "metrics": {"rss_bytes": 2**30},
}  # fmt: skip


def alert(fleet: Fleet, state: Any, *, tick: int, before: Any = "pending") -> None:
    now_s = time.time()
    found = Alert("bot is down", "bot.canary.up", "alpha", "critical", state, now_s,
                  summary="canary has no process")  # fmt: skip
    change = Transition(f"t{tick}", found.rule, found.instance, "alpha", "critical", before, state,
                        now_s, tick, 0.0, found.summary)  # fmt: skip
    assert journal.commit(fleet.redis, "alpha", tick, [found], [change])


@pytest.fixture
def broken(fleet: Fleet) -> Fleet:
    """A bot that was killed for want of memory, and the alert about it."""
    for ago in range(30, -1, -1):
        fleet.row(
            ticks_ago=ago,
            host__cpu__used_ratio=0.25,
            bot__canary__up=float(ago > 3),
            bot__canary__cpu_ratio=0.2,
            bot__canary__rss_bytes=2.0**20 * (100 + 10 * (30 - ago)),
            bot__echo__up=1.0,
        )
    fleet.bots(
        {"name": "canary", "bot": "canary", "state": "failed", "since_s": time.time(),
         "reason": "killed by SIGKILL", "restarts": 3, "crashes": 3},
        {"name": "echo", "bot": "echo", "state": "ready"},
    )  # fmt: skip
    fleet.redis.hset(keys.crashes("alpha"), "canary", json.dumps(CRASH))
    fleet.event(who="supervisor@alpha", what="crash", bot="canary", why="killed", result="done")
    alert(fleet, "firing", tick=1)
    return fleet


class Actions:
    """Answers for actions as the server does, and does them by the same functions."""

    def __init__(self, fleet: Fleet, role: str = "operator") -> None:
        self.fleet, self.role, self.refuse = fleet, role, ""
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []

    def attach(self, page: Page) -> None:
        me = {"user": "ann", "role": self.role, "csrf": "a-secret"}
        page.route("**/api/me", lambda route: route.fulfill(json=me))
        page.route("**/api/actions/*", self._act)

    def _act(self, route: Route) -> None:
        request = route.request
        given: dict[str, Any] = json.loads(request.post_data or "{}")
        now_s = time.time()
        what = request.url.rsplit("/", 1)[1]
        self.asked.append((what, given, request.headers.get("x-outrider-csrf")))
        if self.refuse:
            route.fulfill(status=400, json={"error": self.refuse})
            return
        if what == "ack":
            acknowledgement.add(
                self.fleet.redis, [given["alert"]], author="ann", now_s=now_s,
                lasts_s=given["lasts_s"], comment=given["why"],
            )  # fmt: skip
        elif what == "silence":
            silences.add(
                self.fleet.redis, given["matchers"], author="ann", now_s=now_s,
                lasts_s=given["lasts_s"], comment=given["why"],
            )  # fmt: skip
        route.fulfill(json={"ok": True, "result": None})


@pytest.fixture
def opened(broken: Fleet, visit: Callable[..., Page], address: str, token: str) -> Page:
    """A page of an operator; nothing is shown of it yet."""
    del broken
    return visit(f"{address}/?token={token}")


def test_an_operator_sees_an_alert_learns_the_cause_acknowledges_and_sees_it_resolve(
    broken: Fleet, opened: Page, address: str
) -> None:
    page, actions = opened, Actions(broken)
    actions.attach(page)
    page.goto(address)
    strip = page.locator("#alerts .alert")
    expect(strip).to_contain_text("canary has no process")

    strip.get_by_role("link").click()  # the cause: the bot's page
    expect(page).to_have_url(re.compile(r"/bot\?host=alpha&name=canary"))
    expect(page.locator("#title")).to_have_text("canary")
    expect(page.locator("#now")).to_contain_text("failed")
    expect(page.locator("#crashes")).to_contain_text("killed by SIGKILL")
    page.locator("#crashes summary").click()
    expect(page.locator("#crashes .log")).to_have_text("out of memory")
    expect(page.locator("#charts .card").filter(has_text="Memory")).to_contain_text("greatest")
    expect(page.locator("#events")).to_contain_text("crash")

    page.locator("#firing").get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("restarting it")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog.get_by_role("status")).to_contain_text("You have it until it clears.")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("#firing")).to_contain_text("ann")
    given = {"alert": ACK_KEY, "why": "restarting it", "lasts_s": None}
    assert actions.asked == [("ack", given, "a-secret")]

    page.get_by_role("button", name="Restart").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(page.get_by_role("dialog")).to_contain_text("canary was restarted.")
    page.keyboard.press("Escape")
    assert actions.asked[1][:2] == ("restart", {"bot": "canary", "host": "alpha", "why": ""})

    broken.bots({"name": "canary", "bot": "canary", "state": "ready"})
    alert(broken, "resolved", tick=2, before="firing")
    page.get_by_role("link", name="Alerts", exact=True).click()
    expect(page.locator("#firing")).to_contain_text("Nothing fires")
    expect(page.locator("#pending")).to_contain_text("resolved")
    expect(page.locator("#history tbody tr").first).to_contain_text("resolved")
    expect(page.locator("#said")).to_contain_text("restarting it")


def test_the_first_screen_acknowledges_too_and_says_who_has_it(
    broken: Fleet, opened: Page, address: str
) -> None:
    actions = Actions(broken)
    actions.attach(opened)
    opened.goto(address)
    opened.get_by_role("button", name="Acknowledge").click()
    opened.get_by_role("dialog").get_by_role("button", name="Acknowledge").click()
    opened.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(opened.locator("#alerts")).to_contain_text("ann has it")
    expect(opened.locator("#alerts").get_by_role("button", name="Acknowledge")).to_have_count(0)


def test_a_silence_is_of_what_was_chosen(broken: Fleet, opened: Page, address: str) -> None:
    actions = Actions(broken)
    actions.attach(opened)
    opened.goto(f"{address}/alerts")
    opened.get_by_role("button", name="Silence").click()
    dialog = opened.get_by_role("dialog")
    dialog.get_by_label("rule = bot is down").uncheck()
    dialog.get_by_label("For").select_option("4 hours")
    dialog.get_by_role("button", name="Silence").click()
    expect(dialog.get_by_role("status")).to_contain_text("Silenced until")
    dialog.get_by_role("button", name="Close").click()
    expect(opened.locator("#silences")).to_contain_text("bot = canary")
    assert actions.asked == [
        ("silence", {"matchers": {"bot": "canary"}, "lasts_s": 14_400, "why": ""}, "a-secret")
    ]


def test_a_refusal_is_shown_and_can_be_tried_again(
    broken: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    actions = Actions(broken)
    actions.refuse = "No alert matches; it cleared meanwhile."
    page = visit(f"{address}/?token={token}", expected="status of 40")
    actions.attach(page)
    page.goto(f"{address}/alerts")
    page.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog.get_by_role("status")).to_contain_text("it cleared meanwhile")
    actions.refuse = ""
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog.get_by_role("status")).to_contain_text("You have it")


def test_a_viewer_sees_everything_and_no_button(broken: Fleet, opened: Page, address: str) -> None:
    Actions(broken, role="viewer").attach(opened)
    for path in ("", "alerts", "bot?host=alpha&name=canary"):
        with opened.expect_response("**/api/me"):
            opened.goto(f"{address}/{path}")
        expect(opened.locator("main")).to_contain_text("canary")
        for name in ("Acknowledge", "Silence", "Restart"):
            expect(opened.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_what_is_looked_for_stands_in_the_address(opened: Page, address: str) -> None:
    opened.goto(f"{address}/alerts?q=canary")
    expect(opened.get_by_label("Find")).to_have_value("canary")
    expect(opened.locator("#firing tbody tr")).to_have_count(1)
    opened.get_by_label("Find").fill("owl")
    expect(opened).to_have_url(re.compile(r"\?q=owl$"))
    expect(opened.locator("#firing")).to_contain_text("Nothing fires")
    opened.goto(f"{address}/changes?kind=crash")
    expect(opened.locator("#changes tbody tr")).to_have_count(1)
    opened.get_by_label("Kind").select_option("deploy")
    expect(opened.locator("#changes")).to_contain_text("No change matches.")


def test_times_are_shown_in_utc_on_demand_and_the_address_says_so(
    broken: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    del broken
    page = visit(f"{address}/?token={token}", timezone_id="Asia/Kolkata")
    page.goto(f"{address}/alerts")
    when = page.locator("#firing time").first
    there = when.inner_text()
    page.get_by_role("button", name="UTC").click()
    expect(when).not_to_have_text(there)
    expect(page).to_have_url(re.compile(r"\?tz=utc$"))
    assert (when.get_attribute("title") or "")[11:16] in when.inner_text()
    page.goto(f"{address}/bot?host=alpha&name=canary")  # the choice goes along
    expect(page.get_by_role("button", name="UTC")).to_have_attribute("aria-pressed", "true")


def test_a_range_is_chosen_dragged_and_left_again(opened: Page, address: str) -> None:
    opened.goto(f"{address}/bot?host=alpha&name=canary&range=6h")
    expect(opened.get_by_label("6h")).to_be_checked()
    expect(opened.locator(".card").first).to_contain_text("greatest")
    over = opened.locator(".u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    opened.mouse.move(box["x"] + box["width"] * 0.4, y)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] * 0.8, y, steps=5)
    opened.mouse.up()
    expect(opened).to_have_url(re.compile(r"from=\d+&to=\d+"))
    opened.get_by_role("button", name="Live").click()
    expect(opened).not_to_have_url(re.compile("from="))
    opened.get_by_label("From", exact=True).fill("2026-01-01T00:00")
    expect(opened).to_have_url(re.compile(r"from=\d+&to=\d+"))


def test_with_redis_gone_a_page_keeps_its_last_frame_under_a_banner(
    visit: Callable[..., Page], serve: Callable[[str], str], token: str
) -> None:
    with Server() as server:
        fleet = Fleet(server.url)
        fleet.row(bot__canary__up=0.0)
        alert(fleet, "firing", tick=1)
        page = visit(f"{serve(server.url)}/?token={token}", expected="status of 503")
        page.goto(page.url + "alerts")
        expect(page.locator("#firing")).to_contain_text("bot is down")
        fleet.redis.close()
        fleet.store._redis.close()
    expect(page.locator("#banner")).to_contain_text("does not answer")
    expect(page.locator("#firing")).to_contain_text("bot is down")
    expect(page.locator("body")).to_have_attribute("data-stale", "")
    page.reload()  # also for who comes only now
    expect(page.locator("#firing")).to_contain_text("bot is down")


@pytest.mark.parametrize("path", [each for each in PAGES if each not in ("series", "")])
def test_an_empty_fleet_is_told_what_to_do(
    path: str, visit: Callable[..., Page], address: str, token: str
) -> None:
    page = visit(f"{address}/?token={token}")
    page.goto(f"{address}/{path}")
    expect(page.locator("main .empty:visible").first).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()
    if path not in ("alerts", "changes"):
        expect(page.locator("main .empty:visible code").first).to_be_visible()


def test_markup_in_names_is_shown_and_never_run(
    fleet: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    fleet.row(bot__canary__up=1.0)
    fleet.bots({"name": EVIL, "state": "failed", "reason": EVIL})
    fleet.event(who=EVIL, what=EVIL, bot=EVIL, why=EVIL, result=EVIL)
    found = Alert(EVIL, f"bot.{EVIL}", "alpha", "critical", "firing", time.time(), summary=EVIL)
    assert journal.commit(fleet.redis, "alpha", 1, [found], [])
    page = visit(f"{address}/?token={token}")
    for path, part in (("alerts", "#firing"), ("changes", "#changes"), ("bot", "#list")):
        page.goto(f"{address}/{path}")
        expect(page.locator(part)).to_contain_text(EVIL[:40])
        assert page.locator("main img, main script").count() == 0
    page.locator("#list a").first.click()
    expect(page.locator("#title")).to_have_text(EVIL)
    expect(page.locator("#now")).to_contain_text(EVIL[:40])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_fault_of_accessibility(
    path: str, theme: str, broken: Fleet, visit: Callable[..., Page], address: str
) -> None:
    page = visit(f"{address}/?token={TOKEN}", color_scheme=theme,
                 reduced_motion="reduce")  # fmt: skip
    Actions(broken).attach(page)
    about = {"bot": "?host=alpha&name=canary", "host": "?name=alpha",
             "series": "?host=alpha&s=host.cpu.used_ratio"}  # fmt: skip
    page.goto(f"{address}/{path}{about.get(path, '')}")
    expect(page.locator("#age")).not_to_have_text("connecting")
    if path in ("bot", "host"):
        expect(page.locator(".card").last).to_contain_text("greatest")
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert [
        (fault["id"], [node["html"][:160] for node in fault["nodes"]][:3])
        for fault in found.response["violations"]
    ] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_shows_it_without_scrolling_sideways(
    path: str, broken: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    broken.bots({"name": "a-bot-with-quite-a-long-name-" * 2, "state": "ready", "reason": EVIL})
    page = visit(f"{address}/?token={token}", width=360)
    about = {
        "bot": "?host=alpha&name=" + "a-bot-with-quite-a-long-name-" * 2,
        "host": "?name=alpha",
    }
    page.goto(f"{address}/{path}{about.get(path, '')}")
    expect(page.locator("#age")).not_to_have_text("connecting")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
