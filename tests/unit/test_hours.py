from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from outrider import hours

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("windows", "now", "end"),
    [
        (["22:00-07:00"], "2026-11-23T23:00", "2026-11-24T07:00"),
        (["22:00-07:00"], "2026-11-24T06:59", "2026-11-24T07:00"),
        (["22:00-07:00"], "2026-11-24T07:00", None),
        (["mon 22:00-07:00"], "2026-11-24T06:00", "2026-11-24T07:00"),
        (["mon 22:00-07:00"], "2026-11-23T06:00", None),
        (["sat,sun 00:00-24:00"], "2026-11-28T12:00", "2026-11-30T00:00"),
        (["fri-mon 08:00-09:00"], "2026-11-29T08:30", "2026-11-29T09:00"),
        (["22:00-07:00", "sat,sun 00:00-24:00"], "2026-11-27T23:00", "2026-11-30T07:00"),
        (["22:00-07:00"], "2026-10-24T23:00", "2026-10-25T07:00"),
        (["22:00-07:00"], "2026-03-28T23:00", "2026-03-29T07:00"),
        ([], "2026-11-23T23:00", None),
    ],
)
def test_hours_end_on_the_clock_on_the_wall(windows: list[str], now: str, end: str | None) -> None:
    assert (at(end) if end else None) == hours.end_s(windows, at(now), BERLIN)


def test_hours_without_an_end_are_given_one() -> None:
    assert hours.end_s(["00:00-24:00"], at("2026-11-23T12:00"), BERLIN) is not None


@pytest.mark.parametrize(
    "text", ["", "22-07", "24:00-25:00", "08:60-09:00", "day 08:00-09:00", "mon- 08:00-09:00"]
)
def test_what_are_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        hours.parse(text)
