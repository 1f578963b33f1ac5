"""A real dashboard over a real Valkey, in a real Chromium.

A page that writes an error to its console, or breaks its own Content-Security-Policy, fails the
test that opened it, whatever else the test looks at.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from outrider.clock import tick_at
from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

TOKEN = "token-of-a-browser-test-0123456789"
INTERVAL_S = 2.0
# A loaded machine takes its time; a passing test does not.
expect.set_options(timeout=20_000)
_WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => window.violations.push(e.blockedURI));
"""
_SERVE = "import json, sys; from outrider.web import serve; serve.run(**json.loads(sys.argv[1]))"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Fleet:
    """Writes what workers and supervisors would write."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = RedisStore(url, interval_s=INTERVAL_S)
        self.redis = connection.connect(url)

    def row(self, host: str = "alpha", *, ticks_ago: int = 0, **values: float) -> None:
        """Keep a row; ``cpu__used`` stands for ``cpu.used``."""
        self.redis.zadd(keys.HOSTS, {host: time.time()})
        tick = tick_at(time.time(), INTERVAL_S) - ticks_ago
        self.store.append(host, tick, {n.replace("__", "."): v for n, v in values.items()})

    def bots(self, *words: dict[str, Any], host: str = "alpha") -> None:
        self.redis.set(keys.bots(host), json.dumps(words))

    def alert(self, host: str = "alpha", **alert: Any) -> None:
        self.redis.hset(keys.alert_state(host), alert["rule"], json.dumps({"host": host, **alert}))

    def event(self, **action: Any) -> None:
        self.redis.lpush(keys.ACTIONS, json.dumps({"at_s": time.time(), **action}))


@pytest.fixture
def fleet(valkey_url: str) -> Iterator[Fleet]:
    made = Fleet(valkey_url)
    yield made
    made.redis.close()
    made.store._redis.close()


@pytest.fixture
def serve() -> Iterator[Callable[[str], str]]:
    """Start dashboards, each in a process of its own; return the address of each."""
    with contextlib.ExitStack() as started:
        yield lambda redis_url: started.enter_context(_served(redis_url))


@pytest.fixture
def address(fleet: Fleet, serve: Callable[[str], str]) -> str:
    return serve(fleet.url)


@contextlib.contextmanager
def _served(redis_url: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"host": "127.0.0.1", "port": port, "redis_url": redis_url, "token": TOKEN}
    command = [sys.executable, "-c", _SERVE, json.dumps(given | {"interval_s": INTERVAL_S})]
    with subprocess.Popen(command) as process:
        try:
            yield _answering(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _answering(address: str, process: subprocess.Popen[bytes]) -> str:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/healthz"):
                return address
        except urllib.error.URLError:
            time.sleep(0.02)
    pytest.fail(f"the dashboard did not start: exit code {process.poll()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Launch Chromium for a module, no longer: Playwright keeps an event loop running meanwhile,
    and tests elsewhere start loops of their own.
    """
    find = runpy.run_path(str(Path(__file__).parents[1] / "prepare.py"))["find"]
    path = find()
    if path is None:
        missing = "no Chromium; run: python tests/prepare.py"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    arguments = ["--disable-gpu", "--disable-background-networking"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, serve: Callable[[str], str]) -> Iterator[Callable[..., Page]]:
    """Open pages; every one of them must stay free of errors, but for the ``expected``.

    It needs ``serve`` only to be torn down before it: a page that is still open when its
    dashboard ends finds the connection refused, and says so.
    """
    del serve
    opened: list[Page] = []
    wrong: list[str] = []
    excused: list[str] = []

    def complain(said: ConsoleMessage) -> None:
        if said.type == "error":
            wrong.append(said.text)

    def refuse(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        dialog.dismiss()

    def open_page(url: str, *, width: int = 1280, expected: str = "", **options: Any) -> Page:
        excused.extend([expected] if expected else [])
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.add_init_script(_WATCH_POLICY)
        # Somebody who may only look; a test that acts says otherwise.
        viewer = {"user": "eve", "role": "viewer", "csrf": ""}
        page.route("**/api/me", lambda route: route.fulfill(json=viewer))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", complain)
        page.on("dialog", refuse)
        opened.append(page)
        page.goto(url)
        return page

    yield open_page
    for page in opened:
        wrong += page.evaluate("window.violations")
        page.context.close()
    assert [said for said in wrong if not any(part in said for part in excused)] == []


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def page(visit: Callable[..., Page], address: str) -> Page:
    """The dashboard, opened with its token."""
    return visit(f"{address}/?token={TOKEN}")
