from __future__ import annotations

import logging
from typing import Any

import pytest

from outrider.alerts.channels import base
from outrider.alerts.channels.log import LogChannel

CHANGE = {
    "from": "inactive", "to": "firing", "severity": "critical", "host": "h", "summary": "it burns",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({}, logging.CRITICAL, "[critical] firing on h: it burns"),
        ({"severity": "warning"}, logging.WARNING, "[warning] firing on h: it burns"),
        ({"severity": "info"}, logging.INFO, "[info] firing on h: it burns"),
        ({"from": "firing", "to": "inactive"}, logging.INFO, "[critical] resolved on h: it burns"),
        ({"from": "firing"}, logging.CRITICAL, "[critical] still firing on h: it burns"),
    ],
)
def test_a_change_is_one_line_as_loud_as_it_is_grave(
    change: dict[str, Any], level: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "outrider.alerts")

    assert LogChannel().deliver(CHANGE | change) == "written"
    assert caplog.record_tuples == [("outrider.alerts", level, text)]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\r\nb", "\x1b[2Jab", "a\x00b", "a\N{RIGHT-TO-LEFT OVERRIDE}b", "a\x85b"]
)
def test_names_can_neither_break_the_line_nor_steer_the_terminal(name: str) -> None:
    text = base.words(CHANGE | {"summary": name, "host": name})

    assert text.isprintable()
    assert "\N{REPLACEMENT CHARACTER}" in text


def test_a_percent_sign_in_a_name_is_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    LogChannel().deliver(CHANGE | {"summary": "100%s"})

    assert caplog.messages == ["[critical] firing on h: 100%s"]
