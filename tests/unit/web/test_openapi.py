"""The description of the HTTP API says what is there, and what is there does as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import positive_data_acceptance
from starlette.routing import Route

from outrider.store import connection, keys
from outrider.web import actions, openapi
from outrider.web.app import assemble
from outrider.web.source import Source
from tests.unit.web.conftest import NOW_S, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.applications import Starlette

    from tests.unit.web.conftest import Fleet, Visitor

OURS = {"Authorization": f"Bearer {TOKEN}"}
OPEN = ("/healthz", "/readyz")


def test_every_route_of_the_api_is_described(stranger: Visitor) -> None:
    described = openapi.describe()["paths"]
    apis = {
        route.path
        for route in stranger.app.routes
        if isinstance(route, Route) and route.path.startswith("/api/") and "{" not in route.path
    }
    assert apis | {"/metrics", "/healthz", "/readyz"} <= set(described)
    acts = {path.rpartition("/")[2] for path in described if path.startswith("/api/actions/")}
    assert acts == set(actions.ACTIONS)
    for what in acts:
        body = described[f"/api/actions/{what}"]["post"]["requestBody"]
        fields = body["content"]["application/json"]["schema"]["properties"]
        assert set(fields) == actions.FIELDS[what]


def test_the_description_is_served(owner: Visitor) -> None:
    assert owner.get("/api/openapi.json").json() == openapi.describe()


@pytest.fixture
def app(fleet: Fleet, valkey_url: str) -> Iterator[Starlette]:
    fleet.healthy()
    with connection.connect(valkey_url) as client:
        client.zadd(keys.HOSTS, {"alpha": NOW_S})
        source = Source(fleet.tiers, client, address="redis://***@db:6379/0", clock=fleet)

        def orders(what: str, **fields: Any) -> list[dict[str, Any]]:
            return [{"name": fields["bot"], "state": what}]

        yield assemble(source, token=TOKEN, orders=orders)


@pytest.fixture
def schema(app: Starlette) -> Any:
    # Not through its pytest plugin, which does not know the newest pytest.
    return schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=OURS)


def tried(operation: Any, check: Callable[[Any], None], examples: int) -> None:
    """Run a check on calls that the description allows, and on some that it does not."""
    manners = settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck),
        derandomize=True, database=None,
    )  # fmt: skip
    given(case=operation.as_strategy())(manners(check))()


OPERATIONS = [
    pytest.param(path, method, id=f"{method} {path}")
    for path, methods in openapi.describe()["paths"].items()
    for method in methods
]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_described_holds(schema: Any, path: str, method: str) -> None:
    def holds(case: Any) -> None:
        # That a host, a bot or an alert is there can't be said in a schema.
        unsaid = [positive_data_acceptance] if method == "get" or "silence" in path else []
        case.call_and_validate(headers=OURS, excluded_checks=unsaid)

    tried(schema[path][method], holds, 12)


@pytest.mark.parametrize(
    ("path", "method"), [each for each in OPERATIONS if each.values[0] not in OPEN]
)
def test_nothing_is_told_to_strangers(schema: Any, path: str, method: str) -> None:
    def is_refused(case: Any) -> None:
        answer = case.call(headers={"Authorization": "Basic Og=="})
        assert answer.status_code in (401, 429), answer.text

    tried(schema[path][method], is_refused, 4)
