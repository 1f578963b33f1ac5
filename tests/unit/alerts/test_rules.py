from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.alerts import rules
from outrider.errors import BadArgument


@pytest.mark.parametrize(
    ("when", "expected"),  # series, window, comparison, threshold, for, clear
    [
        ("host.cpu.used_ratio > 0.9", ("host.cpu.used_ratio", 0, ">", 0.9, 0, 0.9)),
        ("host.cpu.used_ratio>0.9", ("host.cpu.used_ratio", 0, ">", 0.9, 0, 0.9)),
        ("  x  >=  90%  ", ("x", 0, ">=", 0.9, 0, 0.9)),
        ("bot.*.rss_bytes > 1MiB for 1m", ("bot.*.rss_bytes", 0, ">", 1 << 20, 60, 1 << 20)),
        ("x > 2kB", ("x", 0, ">", 2000, 0, 2000)),
        ("x < -5s", ("x", 0, "<", -5, 0, -5)),
        ("x < 250ms for 1.5h", ("x", 0, "<", 0.25, 5400, 0.25)),
        ("x > 0.9 for 30s clear 0.7", ("x", 0, ">", 0.9, 30, 0.7)),
        ("x < 1 clear 2", ("x", 0, "<", 1, 0, 2)),
        ("x == 0", ("x", 0, "==", 0, 0, 0)),
        ("x != 1 for 0s", ("x", 0, "!=", 1, 0, 1)),
        ("increase(bot.*.crashes_total, 1m) > 0", ("bot.*.crashes_total", 60, ">", 0, 0, 0)),
        ("increase( timed:x<0.5 ,5m )>=3 for 1m", ("timed:x<0.5", 300, ">=", 3, 60, 3)),
    ],
)
def test_a_rule_is_read_as_it_is_written(when: str, expected: tuple[object, ...]) -> None:
    rule = rules.parse("n", when, "critical")

    assert expected == (
        rule.series, rule.window_s, rule.op, rule.threshold, rule.for_s, rule.clear,
    )  # fmt: skip
    assert (rule.name, rule.severity, rule.text) == ("n", "critical", when)


@pytest.mark.parametrize(
    ("when", "column", "expected"),
    [
        ("", 1, "a series"),
        ("> 1", 1, "a series"),
        ("9lives > 1", 1, "a series"),
        ("rate(x, 1m) > 1", 1, "increase"),
        ("increase(x) > 1", 9, "a comparison"),
        ("increase(x, soon) > 1", 13, "a duration"),
        ("increase(x, 0s) > 1", 13, "longer than nothing"),
        ("x", 2, "a comparison"),
        ("x = 1", 2, "a comparison"),
        ("x > ", 4, "a number"),
        ("x > much", 4, "a number"),
        ("x > 1e5", 4, "a number"),
        ("x > 1 MiBs", 6, "the end"),
        ("x > 1.5.2", 4, "a number"),
        (f"x > {'9' * 400}", 4, "as large"),
        (f"x > {'9' * 300}TiB", 4, "as large"),
        (f"x > {'9' * 400}d", 4, "as large"),
        ("x > 1 for", 6, "the end"),
        ("x > 1 for ever", 11, "a duration"),
        ("x > 1 for 30 s", 13, "the end"),
        ("x > 1 clear", 6, "the end"),
        ("x > 1 clear much", 12, "a number"),
        ("x > 1 and y > 2", 6, "the end"),
        ("x == 1 clear 2", 7, "the end"),
        ("x != 1 clear 0", 7, "the end"),
    ],
)
def test_a_mistake_is_shown_at_its_column(when: str, column: int, expected: str) -> None:
    with pytest.raises(BadArgument) as caught:
        rules.parse("n", when)

    assert f"column {column}:" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("when", ["x > 1 clear 2", "x >= 1 clear 1.1", "x < 1 clear 0.5"])
def test_a_clear_value_beyond_the_threshold_is_refused(when: str) -> None:
    with pytest.raises(BadArgument, match="swap the two"):
        rules.parse("n", when)


PARTS = st.sampled_from(
    ["host.cpu", "increase(", ")", ",", "*", " ", ">", "<=", "==", "!=", "for", "clear", "1",
     "-5", "0.9", "%", "MiB", "kB", "ms", "s", "9" * 330, "1m", "é", "\n",
     "\N{ARABIC-INDIC DIGIT TWO}"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=14).map("".join)))
def test_any_text_is_a_rule_or_a_bad_argument(text: str) -> None:
    try:
        rule = rules.parse("n", text)
    except BadArgument:
        return
    assert math.isfinite(rule.threshold)
    assert math.isfinite(rule.clear)
    assert math.isfinite(rule.for_s)


@pytest.mark.parametrize(
    ("series", "matched"),
    [
        ("host.load.1m", ["host.load.1m"]),
        ("host.load", []),
        ("host.*", ["host.load.1m", "host.load.5m"]),
        ("celery.queue.*.length", ["celery.queue.outrider.host.a.length"]),
        ("bot.*.failed", ["bot.canary.failed", "bot.canary-2.failed"]),
        ("bot.canary*.failed", ["bot.canary.failed", "bot.canary-2.failed"]),
        ("bot.canary.*", ["bot.canary.failed", "bot.canary.jobs.failed"]),
        ("bot.*.jobs.*", ["bot.canary.jobs.failed"]),
        ("b*.failed", ["bot.canary.failed", "bot.canary-2.failed", "bot.canary.jobs.failed"]),
    ],
)
def test_a_star_stands_for_anything_but_for_one_bot_in_the_place_of_its_name(
    series: str, matched: list[str]
) -> None:
    names = [
        "host.load.1m", "host.load.5m", "hostxload.1m", "celery.queue.outrider.host.a.length",
        "bot.canary.failed", "bot.canary-2.failed", "bot.canary.jobs.failed",
    ]  # fmt: skip

    assert matched == rules.parse("n", f"{series} > 0").matches(names)


@pytest.mark.parametrize(
    ("when", "value", "quiet", "firing"),
    [
        ("x > 0.9 clear 0.7", 0.95, True, True),
        ("x > 0.9 clear 0.7", 0.8, False, True),
        ("x > 0.9 clear 0.7", 0.7, False, False),
        ("x < 1 clear 2", 1.5, False, True),
        ("x >= 1", 1.0, True, True),
        ("x != 1", 1.0, False, False),
        ("x > 0", math.nan, False, False),
    ],
)
def test_a_firing_alert_is_held_to_its_clear_value(
    when: str, value: float, *, quiet: bool, firing: bool
) -> None:
    rule = rules.parse("n", when)

    assert quiet == rule.holds(value, firing=False)
    assert firing == rule.holds(value, firing=True)
