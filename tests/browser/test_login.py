"""The door as people meet it: without a script, under a proxy's path, and out again."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from outrider.alerts import acknowledgement, silences
from outrider.web.access import record
from tests.browser.conftest import TOKEN, _answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import Fleet

PASSWORD = "four quiet words here"
REFUSED = "status of 40"  # a browser reports the pages and calls that are refused


@pytest.fixture
def guarded(fleet: Fleet, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Start dashboards with a viewer, an operator and more settings, as the command does."""
    import argon2

    known = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    env = {name: text for name, text in os.environ.items() if not name.startswith("OUTRIDER_")}
    env |= {
        "OUTRIDER_REDIS_URL": fleet.url,
        "OUTRIDER_DASHBOARD_TOKEN": TOKEN,
        "OUTRIDER_INTERVAL_S": "2",
        "OUTRIDER_DASHBOARD__USER": json.dumps(
            [{"name": "ann", "role": "operator", "password_hash": known}]
        ),
    }
    with contextlib.ExitStack() as started:

        def start(root_path: str = "") -> str:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = str(probe.getsockname()[1])
            command = [sys.executable, "-m", "outrider", "dashboard", "--port", port]
            process = started.enter_context(
                subprocess.Popen([*command, "--root-path", root_path], cwd=tmp_path, env=env)
            )
            started.callback(process.terminate)
            return _answering(f"http://127.0.0.1:{port}", process)

        yield start


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.get_by_label("User").fill("ann")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_person_logs_in_and_out_without_a_script(
    fleet: Fleet, guarded: Callable[[str], str], visit: Callable[..., Page]
) -> None:
    fleet.row(host__cpu__used_ratio=0.25)
    address = guarded("")
    page = visit(f"{address}/series?match=cpu", java_script_enabled=False, expected=REFUSED)
    log_in(page, "wrong words")
    expect(page.get_by_role("alert")).to_have_text("This user or password is not right.")
    log_in(page)
    page.wait_for_url(f"{address}/series?match=cpu")
    page.goto(f"{address}/logout")
    expect(page.get_by_text("You are logged in as ann.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{address}/login")
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in to Outrider")


@pytest.mark.parametrize("root_path", ["", "/ops"])
def test_the_page_lives_under_its_path(
    fleet: Fleet, guarded: Callable[[str], str], visit: Callable[..., Page], root_path: str
) -> None:
    fleet.bots({"name": "canary", "bot": "canary", "state": "ready"})
    fleet.row(host__cpu__used_ratio=0.25, bot__canary__up=1.0)
    address = guarded(root_path)
    page = visit(f"{address}{root_path}/", expected=REFUSED)
    log_in(page)
    page.wait_for_url(f"{address}{root_path}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("The bot is healthy.")
    page.get_by_role("link", name="Series").click()
    page.wait_for_url(f"{address}{root_path}/series**")
    expect(page.get_by_text("host.cpu.used_ratio").first).to_be_visible()


@pytest.mark.parametrize("root_path", ["", "/ops"])
def test_an_operator_acknowledges_on_the_page(
    fleet: Fleet, guarded: Callable[[str], str], visit: Callable[..., Page], root_path: str
) -> None:
    fleet.bots({"name": "canary", "bot": "canary", "state": "ready"})
    fleet.row(host__cpu__used_ratio=0.25, bot__canary__up=1.0)
    fleet.alert(
        rule="bot is slow", instance="bot.canary.up", state="firing", severity="critical",
        since_s=time.time() - 60, seen_s=time.time(), summary="canary is slow",
    )  # fmt: skip
    page = visit(f"{guarded(root_path)}{root_path}/", expected=REFUSED)
    page.unroute("**/api/me")  # of other tests, which know no roles
    log_in(page)
    page.get_by_role("button", name="Acknowledge: bot is slow").first.click()
    page.get_by_label("Why").fill("restarting it")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.get_by_text("You have it until it clears.")).to_be_visible()
    held = acknowledgement.read(fleet.redis)["alpha|bot is slow|bot.canary.up"]
    assert (held.author, held.comment) == ("ann", "restarting it")
    assert record.read(fleet.redis)[0]["what"] == "ack"

    # Undone where it was done, and that is written down as well.
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Take back: bot is slow").first.click()
    page.get_by_role("button", name="Take back", exact=True).click()
    expect(page.get_by_text("Nobody has it now; people are told again.")).to_be_visible()
    held = acknowledgement.read(fleet.redis)["alpha|bot is slow|bot.canary.up"]
    assert not held.holds(time.time())
    assert record.read(fleet.redis)[0]["what"] == "unack"


def test_an_operator_ends_a_silence_on_the_page(
    fleet: Fleet, guarded: Callable[[str], str], visit: Callable[..., Page]
) -> None:
    fleet.row(host__cpu__used_ratio=0.25)
    silences.add(fleet.redis, {"host": "alpha"}, author="vic", now_s=time.time(), lasts_s=3600)
    page = visit(f"{guarded('')}/alerts", expected=REFUSED)
    page.unroute("**/api/me")  # of other tests, which know no roles
    log_in(page)
    page.get_by_role("button", name="End the silence of vic").click()
    page.get_by_role("button", name="End it").click()
    expect(page.get_by_text("The silence is over.")).to_be_visible()
    assert silences.read(fleet.redis, time.time()) == []
    assert record.read(fleet.redis)[0]["what"] == "unsilence"
