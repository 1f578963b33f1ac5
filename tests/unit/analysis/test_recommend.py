from __future__ import annotations

import json
import subprocess
import sys

import pytest

from outrider.analysis import recommend
from outrider.analysis.bottleneck import Bottleneck


def advice(resource: str, cause: str | None = None) -> list[recommend.Recommendation]:
    return recommend.against(Bottleneck(resource, 0.99, cause, ("evidence",)))


def test_nothing_wrong_is_nothing_to_do() -> None:
    assert recommend.against(None) == []


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
        assert set(each.kwargs) <= set(parameters[each.task])
