from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.exceptions import Ignore

from outrider.errors import BadArgument
from outrider.settings import Settings
from outrider.store import keys
from outrider.tasks import base, context

if TYPE_CHECKING:
    from outrider.tasks.context import Context


def measure(bot: str, count: int = 1, share: float | None = None, names: list[str] = []) -> None:  # noqa: B006
    raise AssertionError("only its signature is looked at")


@pytest.mark.parametrize(
    ("expected", "args", "kwargs"),
    [
        ({"bot": "a"}, ("a",), {}),
        ({"bot": "a", "share": 1.0}, (), {"bot": "a", "share": 1}),
        ({"bot": "a", "names": ["x"]}, (), {"bot": "a", "names": ["x"]}),
    ],
)
def test_arguments_that_fit_are_taken(
    expected: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert expected == base.checked(measure, args, kwargs, "t")


@pytest.mark.parametrize(
    ("words", "args", "kwargs"),
    [
        (r"t: missing a required argument: 'bot'; it takes \(bot", (), {}),
        (r"t: got an unexpected keyword argument 'but'", ("a",), {"but": 1}),
        (r"t: too many positional arguments", ("a", 1, 1.0, [], 5), {}),
        (r"t: count = 'x': Expected `int`, got `str`", ("a", "x"), {}),
        (r"t: names = \[1\]: Expected `str`, got `int`", ("a",), {"names": [1]}),
    ],
)
def test_arguments_that_do_not_fit_are_named(
    words: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(BadArgument, match=words):
        base.checked(measure, args, kwargs, "t")


class Poison:
    """One task, delivered again and again."""

    def __init__(self) -> None:
        app = Celery("poison", broker="memory://", backend="cache+memory://", set_as_current=False)

        @app.task(base=base.OutriderTask, name="poison", shared=False)
        def poison() -> None:
            raise AssertionError("it is never run")

        self.task = poison

    def deliver(self, *, redelivered: bool) -> None:
        request = {"id": "1", "delivery_info": {"redelivered": redelivered}}
        self.task.push_request(**request)
        try:
            self.task.before_start("1", [], {"bot": "a"})
        finally:
            self.task.pop_request()


@pytest.fixture
def ctx(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Context:
    built = context.build(Settings(host="here"), valkey_url)
    monkeypatch.setattr(context, "current", lambda: built)
    return built


def test_a_task_that_ends_its_workers_becomes_a_dead_letter(ctx: Context) -> None:
    poison = Poison()
    poison.deliver(redelivered=False)
    for _ in range(base.MOST_DELIVERIES - 1):
        poison.deliver(redelivered=True)
    with pytest.raises(Ignore):
        poison.deliver(redelivered=True)

    dead = json.loads(ctx.redis.lindex(keys.DEAD, 0))  # type: ignore[arg-type]
    assert (dead["task"], dead["id"], dead["kwargs"]) == ("poison", "1", {"bot": "a"})
    assert poison.task.AsyncResult("1").state == "FAILURE"


def test_a_first_delivery_costs_nothing(ctx: Context) -> None:
    Poison().deliver(redelivered=False)

    assert ctx.redis.dbsize() == 0


def test_the_users_broker_serves_when_no_redis_is_named(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    app = SimpleNamespace(conf=SimpleNamespace(broker_url=valkey_url))
    monkeypatch.setattr(context, "current_app", app)
    context.current.cache_clear()
    try:
        assert valkey_url == context.current().redis_url
    finally:
        context.current.cache_clear()
