from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.alerts import rules
from outrider.alerts.expression import Binary
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
        ("x > 0.9 clear 0.7 for 30s", ("x", 0, ">", 0.9, 30, 0.7)),
        ("x < 1 clear 2", ("x", 0, "<", 1, 0, 2)),
        ("x == 0", ("x", 0, "==", 0, 0, 0)),
        ("x != 1 for 0s", ("x", 0, "!=", 1, 0, 1)),
        ("increase(bot.*.crashes_total, 1m) > 0", ("bot.*.crashes_total", 60, ">", 0, 0, 0)),
        ("increase( timed:x<0.5 ,5m )>=3 for 1m", ("timed:x<0.5", 300, ">=", 3, 60, 3)),
        ('"an odd, name" > 1', ("an odd, name", 0, ">", 1, 0, 1)),
    ],
)
def test_a_rule_is_read_as_it_is_written(when: str, expected: tuple[object, ...]) -> None:
    rule = rules.parse("n", when, "critical")
    assert isinstance(rule.condition, Binary)
    assert isinstance(rule.held, Binary)

    assert expected == (
        rule.subject.text, rule.reach_s, rule.condition.op, rules.constant(rule.condition.right),
        rule.for_s, rules.constant(rule.held.right),
    )  # fmt: skip
    assert (rule.name, rule.severity, rule.text) == ("n", "critical", when)


@pytest.mark.parametrize(
    ("when", "column", "expected"),
    [
        ("", 1, "a series"),
        ("> 1", 1, "a series"),
        ("9lives > 1", 1, "a series"),
        ("speed(x, 1m) > 1", 6, "a comparison"),
        ("increase(x) > 1", 11, "a comma and a window"),
        ("increase(x, soon) > 1", 13, "a duration"),
        ("increase(x, 0s) > 1", 13, "longer than nothing"),
        ("increase(x, 5%) > 1", 13, "a duration"),
        ("avg(x + y, 5m) > 1", 7, "one series"),
        ("x", 1, "a comparison"),
        ("x = 1", 3, "a comparison"),
        ("x > ", 4, "a number"),
        ("x > 1e5", 5, "a number"),
        ("x > 1 MiBs", 7, "the end"),
        ("x > 1.5.2", 5, "a number"),
        (f"x > {'9' * 400}", 5, "as large"),
        (f"x > {'9' * 300}TiB", 5, "as large"),
        (f"x > {'9' * 400}d", 5, "as large"),
        ("x > 1 for", 7, "for DURATION"),
        ("x > 1 for ever", 11, "a duration"),
        ("x > 1 for 5%", 11, "a duration"),
        ("x > 1 for 30 s", 14, "the end"),
        ("x > 1 for 30s for 1m", 15, "`for` once"),
        ("x > 1 clear y", 13, "only one comparison"),
        ("x == 1 clear 2", 14, "only one comparison"),
        ("x > 1 clear bot.*.up > 1", 22, "the same instances"),
        ("x > 1 clear 2", 13, "swap the two"),
        ("x >= 1 clear 1.1", 14, "swap the two"),
        ("x < 1 clear 0.5", 13, "swap the two"),
        ("1 > 0", 3, "a series to look at"),
        ("x + 1", 3, "a comparison"),
        ("x > 1 and y", 11, "a condition"),
        ("not x", 5, "a condition"),
        ("(x > 1) + 2 > 1", 4, "a number"),
        ("0 of (x > 1, y > 1)", 1, "1 to 2"),
        ("3 of (x > 1, y > 1)", 1, "1 to 2"),
        ("1.5 of (x > 1, y > 1)", 1, "whole number"),
        ("150% of (bot.*.up < 1)", 1, "a share"),
        ("2 of (x > 1)", 9, "a series with a star"),
        ("sum(x) > 1", 5, "a series with a star"),
        ("bot.*.up < 1 and cache.*.hit_ratio < 1", 36, "any of"),
        ("x > 1 where bot = a", 13, "one of the labels host"),
        ("*.*.*.*.*.a > 1", 1, "a series"),
        ("a.*.*.*.*.*.a > 1", 1, "at most 4 stars"),
        ("x > 1" + " and x > 1" * 100, 1, "split it"),
    ],
)
def test_a_mistake_is_shown_at_its_column(when: str, column: int, expected: str) -> None:
    with pytest.raises(BadArgument) as caught:
        rules.parse("n", when)

    assert f"column {column}:" in str(caught.value)
    assert expected in str(caught.value)


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(BadArgument) as caught:
        rules.parse("n", "increase(x, 0s) > 1 for 5% clear 3 for 1m")

    columns = [line.partition("column ")[2][:2] for line in str(caught.value).splitlines()]
    assert columns == ["13", "25", "36"]


@pytest.mark.parametrize(
    ("when", "labels", "subject"),
    [
        ("host.load.1m > 4", (), "host.load.1m"),
        ("bot.*.up < 1", ("bot",), "bot.*.up"),
        ("bot.{who}.up < 1", ("who",), "bot.{who}.up"),
        ("bot.*.updates_total > bot.*.cache.*.hits_total", ("bot", "cache"),
         "bot.*.cache.*.hits_total"),
        ("host.load.1m > 4 and bot.*.up < 1", ("bot",), "bot.*.up"),
        ("2 of (bot.*.up < 1)", (), "bot.*.up"),
        ("2 of (bot.*.up < 1, bot.*.failed > 0)", ("bot",), "bot.*.up"),
        ("sum(bot.*.rss_bytes) / host.memory.total_bytes > 0.5", (), "host.memory.total_bytes"),
    ],
)  # fmt: skip
def test_a_rule_knows_what_tells_its_instances_apart(
    when: str, labels: tuple[str, ...], subject: str
) -> None:
    rule = rules.parse("n", when)

    assert (labels, subject) == (rule.labels, rule.subject.text)


def test_where_admits_instances_by_label_and_host() -> None:
    rule = rules.parse("n", "bot.*.up < 1 where bot != canary*, host = web*")

    assert rule.applies("web-1", ("echo",))
    assert not rule.applies("web-1", ("canary-2",))
    assert not rule.applies("db-1", ("echo",))


PARTS = st.sampled_from(
    ["host.cpu", "bot.*.up", "increase(", "avg(", "2 of (", "any of (", "absent(", "anomaly(", "(",
     ")", ",", "*", " ", ">", "<=", "==", "!=", " and ", " or ", " not ", "+ ", "- ", " / ", " = ",
     " where ", "keep_firing_for ", "for", "clear", "1", "-5", "0.9", "%", "MiB", "kB", "ms", "s",
     "9" * 330, "1m", "é", "\n", "\N{ARABIC-INDIC DIGIT TWO}"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PARTS, max_size=14).map("".join)))
def test_any_text_is_a_rule_or_a_bad_argument(text: str) -> None:
    try:
        rule = rules.parse("n", text)
    except BadArgument:
        return
    assert math.isfinite(rule.for_s)
    assert rule.matches([rule.subject.series(("a",) * len(rule.subject.labels))])


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
