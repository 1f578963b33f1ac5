from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.alerts import calendar
from outrider.errors import BadArgument


def holds(text: str, when: str, timezone: str = "UTC") -> bool:
    at_s = datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(timezone)).timestamp()
    return calendar.parse([text], timezone).holds(at_s)


@pytest.mark.parametrize(
    ("text", "when", "expected"),  # 2026-11-23 is a Monday
    [
        ("Mon-Fri 08:00-18:00", "2026-11-23T08:00", True),
        ("Mon-Fri 08:00-18:00", "2026-11-23T18:00", False),
        ("Mon-Fri 08:00-18:00", "2026-11-28T12:00", False),
        ("Sat,Sun", "2026-11-29T00:00", True),
        ("Fri-Mon", "2026-11-23T12:00", True),
        ("Fri-Mon", "2026-11-24T12:00", False),
        ("22:00-06:00", "2026-11-23T23:00", True),
        ("22:00-06:00", "2026-11-23T12:00", False),
        ("Fri 22:00-06:00", "2026-11-28T05:59", True),
        ("Fri 22:00-06:00", "2026-11-27T05:59", False),
        ("00:00-24:00", "2026-11-23T23:59", True),
    ],
)
def test_a_span_holds_from_its_start_to_before_its_end(
    text: str, when: str, *, expected: bool
) -> None:
    assert expected == holds(text, when)


def test_a_time_zone_moves_its_hours_also_where_clocks_change() -> None:
    assert holds("08:00-09:00", "2026-07-01T08:30", "Europe/Berlin")
    assert holds("08:00-09:00", "2026-12-01T08:30", "Europe/Berlin")


def test_no_spans_are_all_the_time() -> None:
    assert calendar.parse([]).holds(123.0)


@pytest.mark.parametrize(
    "text",
    ["", "Monday", "Mon 8-18", "25:00-26:00", "08:61-09:00", "08:00-08:00", "Mon Tue", "Mon-",
     "08:00-24:01", "Mon 08:00-18:00 x"],
)  # fmt: skip
def test_what_is_no_time_of_the_week_is_refused(text: str) -> None:
    with pytest.raises(BadArgument, match="is no time of the week"):
        calendar.parse(["Mon", text])


@given(st.lists(st.text(alphabet="MonTueFri 0123456789:-,", max_size=20), max_size=3))
def test_any_text_is_a_calendar_or_a_bad_argument(texts: list[str]) -> None:
    try:
        found = calendar.parse(texts)
    except BadArgument:
        return
    assert found.holds(0.0) in (True, False)
