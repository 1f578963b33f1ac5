from __future__ import annotations

import logging
from typing import Any

import pytest

from outrider.alerts import wording
from outrider.alerts.channels.log import LogChannel
from tests.unit.alerts.channels.conftest import alert, message


@pytest.mark.parametrize(
    ("changed", "level", "text"),
    [
        ({}, logging.CRITICAL, "[critical] firing on alpha: it burns"),
        ({"severity": "warning"}, logging.WARNING, "[warning] firing on alpha: it burns"),
        ({"severity": "info"}, logging.INFO, "[info] firing on alpha: it burns"),
        ({"firing": 0, "resolved": 1}, logging.INFO, "[critical] resolved on alpha: it burns"),
        ({"kind": "reminder"}, logging.CRITICAL, "[critical] still firing on alpha: it burns"),
    ],
)
def test_a_message_is_one_line_as_loud_as_it_is_grave(
    changed: dict[str, Any], level: int, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "outrider.alerts")

    assert LogChannel().deliver(message(**changed)) == "written"
    assert caplog.record_tuples == [("outrider.alerts", level, text)]


def test_each_alert_is_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "outrider.alerts")
    LogChannel().deliver(message(alert(), alert(to="inactive"), firing=30, kind="escalation",
                                 level=2))  # fmt: skip

    assert caplog.messages == [
        "[critical] not acknowledged on alpha: bot is down: 30 firing, 1 resolved",
        "level 2 of escalation: nobody acknowledged it in time",
        "firing on alpha since 2026-11-23 17:24:20 UTC: it burns",
        "resolved on alpha since 2026-11-23 17:24:20 UTC: it burns",
        "and 29 more: `outrider alerts list` shows all",
    ]


def test_a_percent_sign_in_a_name_is_no_placeholder(caplog: pytest.LogCaptureFixture) -> None:
    LogChannel().deliver(message(alert(summary="100%s")))

    assert caplog.messages == ["[critical] firing on alpha: 100%s"]


def test_matchers_are_spelled_as_people_write_them() -> None:
    assert wording.spell({"host": "a", "rule": "bot is down"}) == "host=a rule='bot is down'"
