"""The dashboard in docker/grafana and the rules in docker/prometheus ask for what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from outrider.web.exposition import Exposition, Other
from tests.unit.web.conftest import CELERY, full_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKER = Path(__file__).parents[3] / "docker"
RULES_FILE = DOCKER / "prometheus/outrider.rules.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(RULES_FILE.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads(
    (DOCKER / "grafana/dashboards/outrider.json").read_text("utf-8")
)
PANELS: list[dict[str, Any]] = [each for each in DASHBOARD["panels"] if each["type"] != "row"]
VARIABLES: dict[str, dict[str, Any]] = {
    each["name"]: each for each in DASHBOARD["templating"]["list"]
}
# Prometheus' own, and those of no metric.
ALWAYS = {"up": {"job", "instance"}}
_WORDS = frozenset(
    {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "offset"}
)
_GROUPED = re.compile(r"\b(by|on|without|ignoring|group_left)\s*\(([^)]*)\)")


def rendered() -> dict[str, set[str]]:
    """Return the labels of every metric of a full scrape."""
    alert = {"state": "firing", "rule": "r", "instance": "i", "host": "h", "severity": "warning"}
    exposition = Exposition()
    body, _ = exposition.render(
        full_rows(), [alert], reachable=True, others=[Other("celery", lambda: CELERY)]
    )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    recorded = {rule["record"]: grouped(rule["expr"]) for rule in RULES if "record" in rule}
    return found | recorded | ALWAYS


def grouped(expression: str) -> set[str]:
    """Return the labels that an expression keeps."""
    return {
        label.strip()
        for _, labels in _GROUPED.findall(expression)
        for label in labels.split(",")
        if label.strip()
    }


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield ``(metric, labels it is filtered by)`` of a PromQL expression."""
    bare = _GROUPED.sub(" ", re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression))
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    for name, call, filters in re.findall(
        r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\s*(\()?(?:\{([^}]*)\})?", bare
    ):
        if not call and name not in _WORDS:
            yield name, set(re.findall(r"(\w+)\s*[=!]", filters))


def expressions() -> list[tuple[str, str]]:
    """Return ``(where, expression)`` of every panel, annotation and rule."""
    found = [(each["title"], target["expr"]) for each in PANELS for target in each["targets"]]
    found += [(each["name"], each["expr"]) for each in DASHBOARD["annotations"]["list"]]
    return found + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]


def test_the_reader_of_expressions_finds_metrics_and_nothing_else() -> None:
    text = (
        'sum by (a) (rate(x_total{h=~"$h",q!="by"}[5m])) / on () group_left (b) y > 1 or absent(z)'
    )
    assert [*selectors(text)] == [("x_total", {"h", "q"}), ("y", set()), ("z", set())]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_and_label_that_is_asked_for_is_rendered(where: str, expression: str) -> None:
    there = rendered()
    asked = [*selectors(expression)]
    assert asked, where
    for metric, labels in asked:
        assert metric in there, f"{where}: {metric}"
        assert labels <= there[metric], f"{where}: {metric}"
    assert grouped(expression) <= set().union(*(there[metric] for metric, _ in asked))


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_legends_name_labels_that_are_there(panel: dict[str, Any]) -> None:
    there = rendered()
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        kept = grouped(target["expr"])
        has = set().union(*(there[metric] for metric, _ in selectors(target["expr"])))
        assert named <= (kept or has)


def test_the_dashboard_has_what_grafana_needs() -> None:
    ids = [each["id"] for each in DASHBOARD["panels"]]
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("outrider-fleet", "Outrider fleet")
    assert DASHBOARD["schemaVersion"] >= 36  # datasources by uid
    assert len(ids) == len(set(ids))
    assert {"host", "bot", "datasource"} == set(VARIABLES)
    assert VARIABLES["datasource"]["current"]["value"] == provisioned()["uid"]
    for each in PANELS:
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert {target["datasource"]["uid"] for target in each["targets"]} == {"${datasource}"}
        assert each["fieldConfig"]["defaults"] is not None


def provisioned() -> dict[str, Any]:
    text = (DOCKER / "grafana/provisioning/datasources/outrider.yml").read_text("utf-8")
    source: dict[str, Any] = yaml.safe_load(text)["datasources"][0]
    return source


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for each in DASHBOARD["panels"]:
        at = each["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in (
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ):
            assert cell not in taken, (each["title"], taken.get(cell))
            taken[cell] = each["title"]


@pytest.mark.parametrize("name", ["host", "bot"])
def test_variables_take_their_values_from_labels_that_are_there(name: str) -> None:
    asked = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", VARIABLES[name]["definition"])
    assert asked
    assert asked[3] in rendered()[asked[1]]
    assert VARIABLES[name]["query"]["query"] == VARIABLES[name]["definition"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_annotations_name_labels_that_are_there(rule: dict[str, Any]) -> None:
    there = rendered()
    has = set().union(*(there[metric] for metric, _ in selectors(rule["expr"])))
    used = {
        label
        for text in rule.get("annotations", {}).values()
        for label in re.findall(r"\$labels\.(\w+)", text)
    }
    assert used <= has
    assert "record" in rule or rule["annotations"]["summary"]


def test_promtool_finds_no_fault_in_the_rules() -> None:
    promtool = shutil.which("promtool")
    names = [rule.get("alert") or rule["record"] for rule in RULES]
    assert len(names) == len(set(names))
    if promtool is None:
        return  # the reader above has seen every expression
    subprocess.run([promtool, "check", "rules", str(RULES_FILE)], check=True, capture_output=True)
