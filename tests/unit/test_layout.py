"""The house: links, imports, and what a bot pays for importing us."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["tasks", "workers", "schedules"])
def test_the_real_folders_stand_at_the_top_and_are_linked(name: str) -> None:
    assert Path(f"../{name}") == (ROOT / "outrider" / name).readlink()
    assert (ROOT / name / "__init__.py").is_file()
    assert not (ROOT / name).is_symlink()


def test_nobody_imports_the_bare_names() -> None:
    bare = {"tasks", "workers", "schedules"}
    found = []
    for folder in ("outrider", "tasks", "workers", "schedules", "benchmarks", "tests", "examples"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    names = [node.module]
                found += [(file, name) for name in names if name.split(".")[0] in bare]

    assert found == []


def test_loading_every_room_leaves_the_bare_names_to_the_bots() -> None:
    code = (
        "import sys, outrider.tasks, outrider.workers.app, outrider.schedules.scheduler;"
        "print(sorted({'tasks', 'workers', 'schedules'} & set(sys.modules)))"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_public_names_are_there() -> None:
    import outrider

    assert {"Bot", "cached", "create_engine"} <= set(dir(outrider))
    assert [outrider.Bot, outrider.cached, outrider.create_engine]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = outrider.nothing


def test_every_public_task_of_the_contract_exists() -> None:
    from celery import Celery

    import outrider.tasks  # noqa: F401 - registers them

    app = Celery("names", set_as_current=False)
    app.finalize()
    contract = {
        "collect": ("fleet", "host"),
        "analyse": ("host", "fleet", "baseline"),
        "alert": ("evaluate", "notify", "escalate"),
        "warm": ("plan", "run", "key"),
        "tune": ("database", "pools", "cache", "process", "all"),
        "supervise": ("start", "stop", "restart", "scale", "limit", "diagnose", "autoscale"),
        "validate": ("run", "phase"),
        "maintain": ("seal", "rollup", "expire"),
    }

    wanted = {f"outrider.{area}.{verb}" for area, verbs in contract.items() for verb in verbs}

    assert wanted == {name for name in app.tasks if name.startswith("outrider.")}
