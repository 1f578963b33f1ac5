from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from outrider.alerts import cases, defaults
from outrider.alerts.cases import Case, Cases, Expected
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from pathlib import Path

RULE = cases.RuleText("r", "x.* > 1 for 20s")


def failures(expect: list[Expected], **more: Any) -> list[str]:
    case = Case("c", {"x.a": "0 2x5 0x5", "x.b": "0x20"}, expect, **more)
    (outcome,) = cases.run(Cases([case], [RULE]), ())
    return outcome.failures


def test_a_test_passes_when_the_states_are_as_expected() -> None:
    expect = [
        Expected("10s", "r", firing=[], pending=["x.a"]),
        Expected("30s", "r", firing=["x.a"], pending=[]),
        Expected("70s", "r", resolved=["x.a"], firing=[]),
    ]

    assert failures(expect, told=2) == []


def test_a_failure_says_what_was_found() -> None:
    assert failures([Expected("30s", "r", firing=["x.b"])]) == [
        "at 30s of 'r' firing: expected x.b, found x.a"
    ]
    (told,) = failures([Expected("0s", "r")], told=1)
    assert told.startswith("people are told 2 times, expected 1: firing r: x.a")


def test_a_rule_that_does_not_exist_fails_its_test() -> None:
    assert failures([Expected("30s", "other", firing=[])]) == ["no rule is called 'other'"]


def test_rules_in_force_can_be_tested() -> None:
    case = Case(
        "c", {"bot.a.up": "1 0x9"}, [Expected("1m", "bot is down", firing=["bot.a.up"])], told=1
    )
    (outcome,) = cases.run(Cases([case]), defaults.BUILT_IN)

    assert outcome.failures == []


TOML = """
[[test]]
name = "c"
series = { "x" = "1" }
expect = [{ at = "0s", rule = "r", firing = [] }]
"""
YAML = """
test:
  - name: c
    series: {x: "1"}
    expect: [{at: 0s, rule: r, firing: []}]
"""


@pytest.mark.parametrize(("name", "text"), [("t.toml", TOML), ("t.yaml", YAML)])
def test_tests_are_read_from_toml_and_yaml(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    expected = Cases([Case("c", {"x": "1"}, [Expected("0s", "r", firing=[])])])
    assert msgspec.to_builtins(cases.load(tmp_path / name)) == msgspec.to_builtins(expected)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.toml", "[[test", "t.toml: "),
        ("t.yaml", "a: [", "t.yaml: "),
        ("t.toml", "[[test]]\nname = 'c'", "series"),
        ("t.toml", "[[test]]\nname = 'c'\nseries = {}\nexpected = []", "expected"),
        ("t.yaml", "a: &a [1]\nb: *a", "unknown field"),
        ("missing.toml", None, "missing.toml"),
    ],
)
def test_a_file_that_holds_no_tests_is_refused(
    name: str, text: str | None, words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(BadArgument, match=words):
        cases.load(tmp_path / name)


@pytest.mark.parametrize("text", ["one", "1x", "1+x2", "1x99999999"])
def test_values_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(BadArgument):
        cases.values_of(text)


def test_missing_values_are_as_many_as_written() -> None:
    assert str(cases.values_of("_x2 -1-1x1")) == "[nan, nan, -1.0, -2.0]"
