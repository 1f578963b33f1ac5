from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from outrider.errors import BadArgument
from outrider.settings import Settings, SloSettings
from outrider.slo import objective, openslo

SLO = {
    "apiVersion": "openslo/v1",
    "kind": "SLO",
    "metadata": {"name": "answers"},
    "spec": {
        "service": "bots",
        "indicator": {
            "spec": {
                "ratioMetric": {
                    "good": {
                        "metricSource": {
                            "type": "outrider",
                            "spec": {"indicator": "timed:handle<0.5s"},
                        }
                    }
                }
            }
        },
        "timeWindow": [{"duration": "4w", "isRolling": True}],
        "budgetingMethod": "Occurrences",
        "objectives": [{"target": 0.99}],
    },
}


def changed(**spec: Any) -> str:
    return yaml.safe_dump(SLO | {"spec": SLO["spec"] | spec})  # type: ignore[operator]


settings = st.builds(
    SloSettings,
    name=st.text("abcdefgh ÄÖ:#'\"-", min_size=1, max_size=20).map(lambda text: f"x{text}"),
    indicator=st.sampled_from(
        [
            "alive",
            "work:jobs",
            "timed:handle<0.5s",
            "fresh:polls_total<10m",
            "ratio:a_total/b_total",
        ]
    ),
    objective=st.floats(0.5, 0.9999).map(lambda each: round(each, 5)),
    bots=st.lists(st.sampled_from(["*", "canary*", "finch"]), min_size=1).map(tuple),
    each_bot=st.booleans(),
    period_s=st.sampled_from([7, 28, 30, 90]).map(lambda days: days * 86_400.0),
    method=st.sampled_from(["timeslices", "occurrences"]),
)


@hypothesis_settings(deadline=None)
@given(st.lists(settings, min_size=1, max_size=3))
def test_what_is_exported_is_imported_as_it_was(given_: list[SloSettings]) -> None:
    text = openslo.dumps([objective.of(each) for each in given_])
    read = openslo.loads(text)

    assert [objective.of(each) for each in given_] == [objective.of(each) for each in read]
    tables = tomllib.loads(openslo.to_toml(read))["slo"]
    again = [SloSettings.model_validate(table) for table in tables]
    assert read == again


def test_what_is_exported_is_open_slo_with_its_alert_policy() -> None:
    text = openslo.dumps(objective.of_settings(Settings(host="alpha")))
    documents = list(yaml.safe_load_all(text))

    assert {each["apiVersion"] for each in documents} == {"openslo/v1"}
    kinds = [each["kind"] for each in documents]
    assert (kinds.count("AlertCondition"), kinds.count("AlertPolicy"), kinds.count("SLO")) == (
        4,
        1,
        2,
    )
    policy = next(each for each in documents if each["kind"] == "AlertPolicy")
    conditions = {
        each["metadata"]["name"] for each in documents if each["kind"] == "AlertCondition"
    }
    assert {each["conditionRef"] for each in policy["spec"]["conditions"]} == conditions


def test_documents_of_others_are_read() -> None:
    (found,) = openslo.loads(changed())

    assert (found.name, found.indicator, found.objective) == ("answers", "timed:handle<0.5s", 0.99)
    assert (found.period_s, found.method) == (28 * 86_400, "occurrences")


def test_each_of_several_objectives_is_one() -> None:
    found = openslo.loads(changed(objectives=[{"target": 0.9}, {"targetPercent": 99.9}]))

    assert [(each.name, each.objective) for each in found] == [
        ("answers 1", 0.9),
        ("answers 2", 0.999),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("apiVersion: openslo/v2", "document 1: expected apiVersion: openslo/v1"),
        ("- 1", "document 1: expected"),
        ("", "no document of the kind SLO"),
        (changed(indicator={"spec": {"thresholdMetric": {"metricSource": {"type": "Prometheus"}}}}),
         "can't be measured here"),
        (changed(objectives=[]), "has no objectives"),
        (changed(objectives=[{"target": "most"}]), "needs a target"),
        (changed(objectives=[{"target": 99.9}]), "objective: Input should be less than 1"),
        (changed(timeWindow=[{"duration": "soon"}]), "duration 'soon'"),
        (changed(budgetingMethod="RatioTimeslices"), "budgetingMethod 'RatioTimeslices'"),
        (changed(indicator=[]), "can't be measured here"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
        ("x: " + "y" * 1_000_001, "larger than 1 MB"),
        ("apiVersion: openslo/v1\nkind: SLO\nmetadata: 3\nspec: 4", "can't be measured here"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(BadArgument, match=said):
        openslo.loads(text)


def test_the_example_of_the_guide_is_what_it_says(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs/how-to/slo.md").read_text("utf-8")
    tables = guide.split("```toml\n", 1)[1].split("```", 1)[0]
    found = Settings.model_validate({"host": "alpha"} | tomllib.loads(tables))

    assert [each.indicator.text for each in objective.of_settings(found)][2:]
