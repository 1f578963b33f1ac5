"""Orders from the dashboard: this host's by the socket, another's by its worker."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import TimeoutError as TooLate

from outrider import errors
from outrider.settings import Settings
from outrider.supervisor import control
from outrider.workers import orders

FOUND = [{"name": "canary", "state": "starting"}]


class Sent:
    """A task that was sent, with the result a test chooses."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.sent: list[tuple[str, dict[str, Any], float]] = []

    def __call__(self, name: str, *, kwargs: dict[str, Any], expires: float) -> Sent:
        self.sent.append((name, kwargs, expires))
        return self

    def get(self, timeout: float) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def given() -> orders.Given:
    return orders.Given(Settings(host="alpha"))


def sending(monkeypatch: pytest.MonkeyPatch, result: Any) -> Sent:
    from outrider.workers.app import app  # not before: other tests choose the current app

    sent = Sent(result)
    monkeypatch.setattr(app, "send_task", sent)
    return sent


def test_this_hosts_supervisor_is_asked_itself(
    given: orders.Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def ask(run_dir: Any, do: str, *, timeout_s: float, **fields: Any) -> Any:
        asked.append((do, fields))
        return FOUND

    monkeypatch.setattr(control, "answers", lambda _: True)
    monkeypatch.setattr(control, "ask", ask)
    assert given("restart", host="alpha", bot="canary", who="ann", why="stuck") == FOUND
    assert asked == [("restart", {"bot": "canary", "who": "ann", "why": "stuck"})]


@pytest.mark.parametrize("host", ["alpha", "beta"])
def test_another_supervisor_is_reached_through_its_worker(
    given: orders.Given, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(control, "answers", lambda _: False)
    sent = sending(monkeypatch, {"host": host, "bots": FOUND})
    assert given("scale", host=host, bot="canary", instances=2, who="ann", why="") == FOUND
    fields = {"bot": "canary", "instances": 2, "who": "ann", "why": "", "host": host}
    assert sent.sent == [("outrider.supervise.scale", fields, orders.WITHIN_S)]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TooLate(), orders.NotTaken),
        (errors.UnknownBot("no bot"), errors.UnknownBot),
        (type("UnknownBot", (Exception,), {})("no bot"), errors.UnknownBot),
        (errors.BadArgument("no"), errors.BadArgument),
        (RuntimeError("broken"), errors.OutriderError),
    ],
    ids=lambda given: getattr(given, "__name__", type(given).__name__),
)
def test_what_the_worker_raises_is_ours(
    given: orders.Given, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type
) -> None:
    sending(monkeypatch, raised)
    with pytest.raises(expected):
        given("restart", host="beta", bot="canary")
