"""What the loop does with a deed, and where it looks; without a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outrider.cli import here
from outrider.cli.top import command, watch
from outrider.settings import Settings
from outrider.store import connection, keys
from outrider.workers.app import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _at_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_HOST", "alpha")
    monkeypatch.setattr("getpass.getuser", lambda: "ann")


def test_a_bot_of_this_host_is_restarted_by_the_supervisor_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(here, "supervisor", lambda do, **fields: asked.append((do, fields)))
    said = command._restart({"name": "canary-2", "host": "alpha", "host_key": "alpha"})

    assert asked == [("restart", {"bot": "canary-2", "who": "ann", "why": "outrider top"})]
    assert said == "canary-2 restarts"


def test_a_bot_of_another_host_is_restarted_by_a_task_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Any] = []

    class Sent:
        id = "7f"

    def send(name: str, *, kwargs: dict[str, Any]) -> Sent:
        sent.append((name, kwargs))
        return Sent()

    monkeypatch.setattr(app, "send_task", send)
    said = command._restart({"name": "canary", "host": "beta", "host_key": "beta"})

    who = {"who": "ann", "why": "outrider top"}
    assert sent == [("outrider.supervise.restart", {"bot": "canary", "host": "beta", **who})]
    assert said == "beta was asked to restart canary (task 7f)"


def test_what_a_deed_raises_is_said() -> None:
    heard: list[str] = []

    def fail() -> str:
        raise ValueError("no such thing")

    watch.aside(fail, heard.append).join()

    assert heard == ["failed: ValueError: no such thing"]


def test_a_stack_that_comes_up_later_or_elsewhere_is_found(valkey_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="alpha")
    lookout = watch.Lookout(settings)
    assert "no stack runs" in lookout.look()["problem"]["text"]

    stack = settings.run_dir() / "stack.json"
    stack.parent.mkdir(parents=True, exist_ok=True)
    stack.write_text('{"redis_url": "redis://127.0.0.1:1/0"}')
    assert "does not answer" in lookout.look()["problem"]["text"]

    with connection.connect(valkey_url) as client:
        client.zadd(keys.HOSTS, {"alpha": 4e9})
    stack.write_text(f'{{"redis_url": "{valkey_url}"}}')
    found = lookout.look()
    assert found["problem"] is None
    assert [host["name"] for host in found["hosts"]] == ["alpha"]

    stack.unlink()  # the stack stopped: what it had last is still shown
    assert [host["name"] for host in lookout.look()["hosts"]] == ["alpha"]
    stack.write_text('{"redis_url": "redis://127.0.0.1:1/0"}')
    assert [host["name"] for host in lookout.look()["hosts"]] == ["alpha"]


def test_an_address_that_is_none_is_a_problem_on_the_screen(tmp_path: Path) -> None:
    lookout = watch.Lookout(Settings(data_dir=tmp_path, redis_url="nonsense://x"))

    assert "no Redis address" in lookout.look()["problem"]["text"]
