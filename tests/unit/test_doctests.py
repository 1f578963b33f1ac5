"""Every example in a docstring is run, in every module of the package.

Docstrings are found in the sources: what ``doctest`` finds by looking at a module's values would
touch Celery's lazy tasks, and with them the settings of whoever runs the tests.
"""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import outrider

HERE = Path(outrider.__file__).parent
EXAMPLE = ">>> "
# The rooms behind links are found under their names within the package.
SOURCES = sorted(
    path
    for folder in (HERE, *(found for found in HERE.iterdir() if found.is_symlink()))
    for path in folder.rglob("*.py")
)


def module_of(path: Path) -> str:
    parts = path.relative_to(HERE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def examples(path: Path) -> list[doctest.DocTest]:
    tree, parser = ast.parse(path.read_bytes()), doctest.DocTestParser()
    globs = vars(importlib.import_module(module_of(path)))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text, line = ast.get_docstring(node) or "", getattr(node, "lineno", 1)
            name = f"{module_of(path)}.{getattr(node, 'name', '')}"
            found.append(parser.get_doctest(text, dict(globs), name, str(path), line))
    return [test for test in found if test.examples]


def test_every_room_is_looked_into() -> None:
    assert {
        "outrider", "outrider.store.redis", "outrider.alerts.channels.webhook", "outrider.cli.main",
        "outrider.tasks.collect", "outrider.workers.stack", "outrider.schedules.beat",
    } <= {module_of(path) for path in SOURCES}  # fmt: skip


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if EXAMPLE in path.read_text("utf-8")], ids=module_of
)
def test_the_examples_hold(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests, runner = examples(path), doctest.DocTestRunner()
    for test in tests:
        runner.run(test)

    assert tests
    assert runner.failures == 0, capsys.readouterr().out
