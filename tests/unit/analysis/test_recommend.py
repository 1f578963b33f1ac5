from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from outrider.analysis import cause, recommend
from outrider.analysis.bottleneck import Bottleneck
from outrider.analysis.cause import Cause, Evidence


def advice(resource: str, cause: str | None = None) -> list[recommend.Recommendation]:
    return recommend.against_all((), Bottleneck(resource, 0.99, cause, ("evidence",)))


def test_nothing_wrong_is_nothing_to_do() -> None:
    assert recommend.against_all((), None) == []


@pytest.mark.parametrize(
    ("resource", "cause", "tasks"),
    [
        ("memory", "a", ["outrider.supervise.diagnose", "outrider.supervise.restart"]),
        ("memory", None, ["outrider.tune.process"]),
        ("CPU", "a", ["outrider.supervise.diagnose"]),
        ("disk space", None, ["outrider.tune.process"]),
        ("database connections", None, ["outrider.tune.database"]),
        ("connection pool of a", "a", ["outrider.tune.database"]),
        ("event loop of a", "a", ["outrider.supervise.diagnose"]),
        ("event loop of pool-boy", "pool-boy", ["outrider.supervise.diagnose"]),
        ("event loop of database", "database", ["outrider.supervise.diagnose"]),
    ],
)
def test_the_remedy_fits_the_resource(resource: str, cause: str | None, tasks: list[str]) -> None:
    found = advice(resource, cause)

    assert tasks == [each.task for each in found]
    assert all(each.kwargs.get("bot", cause) == cause for each in found)


@pytest.fixture(scope="module")
def parameters() -> dict[str, list[str]]:
    """The parameters of each task; asked in a process of its own, since it sets Celery up."""
    code = (
        "import inspect, json; from celery import current_app as app; import outrider.tasks;"
        "app.finalize(auto=True);"
        "names = {n: list(inspect.signature(t.run).parameters) for n, t in app.tasks.items()};"
        "print(json.dumps(names))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    found: dict[str, list[str]] = json.loads(said.stdout)
    return found


@pytest.mark.parametrize("cause", [None, "a"])
@pytest.mark.parametrize("resource", ["memory", "CPU", "database connections"])
def test_what_is_recommended_can_be_run_as_it_stands(
    resource: str, cause: str | None, parameters: dict[str, list[str]]
) -> None:
    for each in advice(resource, cause):
        assert each.task
        assert set(each.kwargs) <= set(parameters[each.task])


def of(part: str, *, first: str = "x", before: float = 1.0, now: float = 3.0) -> Cause:
    """A cause as diagnosis finds it."""
    kind, _, subject = part.partition(":")
    seen = Evidence(first, f"{first} is 3 instead of 1", before, now, 9.0, 100.0)
    return Cause(part, kind, subject, "words", 0.9, 0.9, 100.0, 2.0, ("canary",), (part,), (seen,))


PARTS = (
    "outside", "cpu", "process:a", "leak:a", "life:a", "loop:a", "pool:a", "queries:a", "database",
    "redis", "cache:a.things", "api", "api:a", "queue:shop/celery",
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_advice_rests_on_evidence_can_be_carried_out_and_says_how_to_see_that_it_helped(
    part: str, parameters: dict[str, list[str]]
) -> None:
    found = recommend.against_all([of(part)], None, host="h")

    assert found
    for each in found:
        assert each.evidence == ("x is 3 instead of 1",)
        assert each.gain == "unknown" or re.search(r"[a-z]", each.gain)
        assert each.risk
        assert each.verify == recommend.Check("x", "fall", 1.2, 120.0)
        assert each.task or each.setting
        if each.task:
            assert set(each.kwargs) <= set(parameters[each.task])


def test_what_fell_shall_rise_again() -> None:
    (first, *_) = recommend.against_all([of("life:a", before=1.0, now=0.0)], None)

    assert first.verify == recommend.Check("x", "rise", 0.9, 120.0)


def test_a_bot_that_was_given_up_is_started_not_restarted() -> None:
    found = recommend.against_all([of("life:a", first="bot.a.failed", before=0, now=1)], None)

    assert [each.task for each in found] == ["outrider.supervise.start"]


def test_a_gain_is_a_number_where_one_is_known() -> None:
    leak = recommend.against_all([of("leak:a", first="bot.a.rss_bytes", now=1 + (5 << 20))], None)

    assert leak[1].gain == "5.0 MiB, which it gained since it began"
    assert recommend.against_all([of("redis")], None)[0].gain == "unknown"


def test_without_cause_and_bottleneck_nothing_is_advised() -> None:
    assert recommend.against_all([], None) == []


def test_every_cause_has_a_title() -> None:
    assert all(cause.title(part) for part in PARTS)
