from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.analysis import page, plot
from outrider.analysis.plot import Mark, Picture

EVIL = "<img src=x onerror=alert(1)>\"'&"
TIMES = [10.0 * n for n in range(100)]
FLAT = [5.0] * 100


class Tags(HTMLParser):
    """Collects the elements of a page, and what they would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def picture(**more: Any) -> Picture:
    return Picture("x_bytes", "a title", TIMES, FLAT, **more)


def report(text: str = "all is well") -> dict[str, Any]:
    odd = {"series": text, "value": 1.0, "low": 0.0, "high": 2.0, "score": 9.0, "since_s": 5.0,
           "component": text, "words": text}  # fmt: skip
    off = {"series": text, "now": 1.0, "low": 0.0, "center": 1.0, "high": 2.0, "score": 9.0,
           "season": text, "words": text}  # fmt: skip
    return {
        "host": text, "bot": text, "tick": 1, "at_s": 10.0, "since_s": 5.0, "state": text,
        "verdict": text, "series": 3, "anomalies": [odd], "off_normal": [off],
        "trends": [{"series": text, "direction": text, "slope_per_h": 1.0, "confidence": 0.99}],
        "limits": [{"series": text, "what": text, "value": 1.0, "limit": 2.0, "used_ratio": 0.5,
                    "eta_s": 60.0, "lower_s": 30.0, "upper_s": None}],
        "bottleneck": {"resource": text, "evidence": [text]},
        "causes": [{"name": text, "confidence": 0.9, "evidence": [{"words": text}, text]}],
        "recommendations": [{"text": text, "task": text, "kwargs": {text: text}, "gain": text,
                             "risk": text, "verify": text}],
        "findings": [
            {"kind": "change", "of": "slope", "series": text, "at_s": 1.0, "before": 0.0,
             "after": 1.0, "spreads": 3.0},
            {"kind": "verdict", "at_s": 1.0, "state": text, "words": text},
        ],
    }  # fmt: skip


def test_a_page_fetches_nothing_and_holds_no_script() -> None:
    drawn = picture(low=[4.0] * 100, high=[6.0] * 100, marks=[Mark(50.0, "anomaly", "level")])
    made = page.render(report(), [drawn], now_s=20.0)
    tags = Tags()
    tags.feed(made)

    assert tags.fetched == []
    assert not {"script", "link", "img", "iframe"} & tags.tags
    assert "svg" in tags.tags
    assert "url(" not in made
    assert "@import" not in made
    assert "default-src 'none'" in made
    assert "prefers-color-scheme:dark" in made


def test_whatever_comes_from_outside_is_escaped() -> None:
    hostile = Picture(EVIL, EVIL, TIMES, FLAT, marks=[Mark(50.0, EVIL, EVIL)])
    made = page.render(report(EVIL), [hostile], now_s=20.0)
    tags = Tags()
    tags.feed(made)

    assert "img" not in tags.tags
    assert made.count("&lt;img") > 20


def kinds(drawn: Picture) -> list[str]:
    return [shape.kind for shape in plot.draw(drawn)]


def test_a_picture_shows_band_forecast_limit_and_marks() -> None:
    drawn = picture(
        low=[4.0] * 100, high=[6.0] * 100, ahead_s=[1000.0, 1500.0], ahead=[5.0, 6.0],
        ahead_low=[5.0, 4.0], ahead_high=[5.0, 8.0], limit=7.0,
        marks=[Mark(500.0, "change", "5 to 6"), Mark(700.0, "anomaly", "level")],
    )  # fmt: skip
    found = kinds(drawn)

    for kind in ("band", "interval", "limit", "mark change", "mark anomaly", "line", "ahead"):
        assert kind in found
    assert found.index("band") < found.index("line")


def test_a_limit_far_off_is_left_out_rather_than_flattening_the_line() -> None:
    assert "limit" not in kinds(picture(limit=5e9))


def test_nothing_known_is_nothing_drawn() -> None:
    assert plot.draw(Picture("x", "x", [], [])) == []
    assert plot.draw(Picture("x", "x", [1.0], [math.nan])) == []


def test_a_spike_is_not_lost_among_many_points() -> None:
    values = np.full(50_000, 1.0)
    values[31_234] = 9.0
    drawn = Picture("x", "x", np.arange(50_000.0).tolist(), values.tolist())
    (line,) = [shape for shape in plot.draw(drawn) if shape.kind == "line"]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line.attributes["d"])]

    assert len(heights) < 2000
    assert min(heights) < plot.HEIGHT / 4


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    values = [5.0] * 40 + [math.nan] * 20 + [6.0] * 40
    (line,) = [s for s in plot.draw(Picture("x", "x", TIMES, values)) if s.kind == "line"]

    assert line.attributes["d"].count("M") == 2


@given(values=st.lists(st.floats(), min_size=1, max_size=40), step_s=st.floats(0.001, 1e7))
@settings(max_examples=60, deadline=None)
def test_any_numbers_make_a_picture_of_numbers(values: list[float], step_s: float) -> None:
    values = [value if abs(value) < 1e150 else math.nan for value in values]
    times = [1e9 + step_s * n for n in range(len(values))]
    made = plot.svg(Picture("x_bytes", "x", times, values, low=values, high=values))

    assert "nan" not in made
    assert "inf" not in made


@pytest.mark.parametrize("state", ["ok", "warning", "critical", "unknown"])
def test_the_state_is_said_in_words_and_not_by_colour_alone(state: str) -> None:
    assert f"<b>{state}</b>" in page.render(report() | {"state": state}, [], now_s=20.0)
