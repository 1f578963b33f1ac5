from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outrider.cli import run
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Outrider


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bot=canary", ("bot", "canary")),
        ("instances=3", ("instances", 3)),
        ("why=stuck since noon", ("why", "stuck since noon")),
        ("why=", ("why", "")),
        ("flag=true", ("flag", True)),
        ("nothing=null", ("nothing", None)),
        ('phases=["load"]', ("phases", ["load"])),
        ("why=a=b", ("why", "a=b")),
        ('why="3"', ("why", "3")),
    ],
)
def test_an_argument_is_json_where_it_is_and_text_elsewhere(
    text: str, expected: tuple[str, Any]
) -> None:
    assert expected == run._pair(text)


@pytest.mark.parametrize("text", ["canary", "=canary", "a b=1", "1=2", ""])
def test_what_is_no_argument_is_refused(text: str) -> None:
    with pytest.raises(BadArgument, match="bot=canary"):
        run._pair(text)


@pytest.mark.parametrize("arguments", [(), ("--list",)])
def test_every_task_is_listed_where_nothing_runs(
    arguments: tuple[str, ...], outrider: Outrider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "task_names", lambda: ["outrider.a.b", "outrider.c.d"])

    assert outrider("run", *arguments).stdout == "outrider.a.b\noutrider.c.d\n"
