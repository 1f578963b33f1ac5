"""What an enemy writes stands on the pages as text: nothing runs, is fetched, or turns it round."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import Fleet

EVIL = (
    "zq7<img src=x onerror=alert(1)><script>alert(2)</script>\"' onmouseover=alert(3) "
    "</title></style><svg/onload=alert(4)> javascript:alert(5) \x1b[2J\x9b \u202egnp.exe\u2066"
)
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("path", ["/", "/series?host=alpha"])
def test_hostile_text_is_only_text(
    path: str, fleet: Fleet, visit: Callable[..., Page], address: str, token: str
) -> None:
    word = {"name": EVIL, "bot": EVIL, "state": EVIL, "reason": EVIL, "since_s": time.time()}
    fleet.bots(word, word | {"name": "b", "state": "failed"})
    fleet.alert(rule=EVIL, instance=EVIL, severity=EVIL, state="firing", summary=EVIL)
    fleet.event(who=EVIL, what=EVIL, bot=EVIL, why=EVIL, result=EVIL)
    values: dict[str, Any] = {f"bot.canary.{EVIL}": 1.0, f"bot.{EVIL}.rss_bytes": 1e6}
    fleet.row(**values, host__cpu__used_ratio=1.0)
    page = visit(f"{address}/?token={token}")
    page.goto(address + path)
    expect(page.locator("main")).to_contain_text("zq7<img src=x onerror=alert(1)>")

    assert page.locator("main img, main script, main svg[onload]").count() == 0
    assert not _STEERS.search(page.locator("main").inner_text())
    page.locator("main").hover()
