from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("512 B", 512),
        ("1k", 1000),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1.5MiB", 3 << 19),
        (" 2 GB ", 2_000_000_000),
        ("1TiB", 1 << 40),
        (0, 0),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str | int, expected: int) -> None:
    assert expected == units.parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1.5h", 5400),
        ("2d", 172_800),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str | float, expected: float) -> None:
    assert expected == units.parse_duration(text)


@pytest.mark.parametrize(("text", "expected"), [("5/60s", (5, 60.0)), ("0 / 1h", (0, 3600.0))])
def test_a_rate_is_a_count_and_a_window(text: str, expected: tuple[int, float]) -> None:
    assert expected == units.parse_rate(text)


@pytest.mark.parametrize("text", ["", "much", "-1", "300 MiBs", "1,5MiB", "nan", True, "9" * 400])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="300MiB"):
        units.parse_bytes(text)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "30 sec", "inf", "9" * 400])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="30s"):
        units.parse_duration(text)


@pytest.mark.parametrize("text", ["5", "5/", "/60s", "x/60s", "5/0s", "-5/60s", "²/60s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        units.parse_rate(text)


@given(st.text())
def test_any_text_is_a_finite_number_or_refused(text: str) -> None:
    for parse in (units.parse_bytes, units.parse_duration):
        try:
            assert math.isfinite(parse(text))
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.9996, "1s"),
        (59.7, "1m0s"),
        (60, "1m0s"),
        (3599.9, "1h0m"),
        (3600, "1h0m"),
        (90_000, "1d1h"),
    ],
)
def test_a_duration_is_rounded_before_its_unit_is_chosen(seconds: float, expected: str) -> None:
    assert expected == units.show_duration(seconds)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (-2048, "-2.0 KiB"), (2 << 40, "2.0 TiB")],
)
def test_a_size_is_shown_for_people(size: int, expected: str) -> None:
    assert expected == units.show_bytes(size)
