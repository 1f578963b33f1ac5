"""The wheel in an empty environment, beside a project with a `tasks.py` of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_the_links_point_to(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {
        "outrider/tasks/collect.py", "outrider/workers/app.py", "outrider/schedules/claim.lua",
        "outrider/store/append.lua", "outrider/web/templates/index.html", "outrider/py.typed",
    } <= names  # fmt: skip
    top = {name.split("/")[0] for name in names}
    assert {"outrider", "outrider-0.1.0.dist-info"} == top


@pytest.mark.timeout(300)
@pytest.mark.long
def test_both_work_when_the_project_has_its_own_tasks(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--constraint", str(ROOT / "constraints.txt"), str(wheel)],
        check=True,
    )  # fmt: skip
    project = tmp_path / "project"
    project.mkdir()
    for name in ("tasks", "workers", "schedules"):
        (project / f"{name}.py").write_text(f"OWNER = 'the project: {name}'\n")
    code = (
        "import tasks, workers, schedules, outrider.tasks, outrider.workers.app as w, outrider\n"
        "from outrider.schedules import beat\n"
        "from outrider.settings import Settings\n"
        "print(tasks.OWNER, workers.OWNER, schedules.OWNER, sep='|')\n"
        "print(outrider.tasks.collect.collect_host.name, len(beat.table(Settings())) > 5)\n"
        "print(w.app.connection().transport.driver_name)\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean["OUTRIDER_REDIS_URL"] = "redis://127.0.0.1/0"  # nothing is sent there

    said = subprocess.check_output([python, "-c", code], cwd=project, env=clean, text=True)
    version = subprocess.check_output(
        [str(venv / "bin" / "outrider"), "--version"], cwd=project, env=clean, text=True
    )

    assert said.splitlines() == [
        "the project: tasks|the project: workers|the project: schedules",
        "outrider.collect.host True",
        "redis",
    ]
    assert "0.1.0" in version
