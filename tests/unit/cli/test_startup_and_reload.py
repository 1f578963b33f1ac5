"""``outrider bots startup`` and ``reload``: with real bots, and a real supervisor beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.unit.cli.test_bots import run  # noqa: F401 - the fixture
from tests.unit.supervisor.fleets import READY, SAYS_READY, python

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider
    from tests.unit.cli.test_bots import Command, Run
    from tests.unit.supervisor.fleets import Fleet

BOT = """
import asyncio
import outrider

async def main():
    outrider.Bot("canary").ready()
    await asyncio.sleep(600)
"""


def test_a_start_is_shown_as_a_table_and_as_json(folder: Path, outrider: Outrider) -> None:
    (folder / "mybots.py").write_text(BOT)
    (folder / "outrider.toml").write_text('data_dir = "."\n[bots.canary]\nentry = "mybots:main"')
    said = outrider("bots", "startup", "canary", "--runs", "1")
    assert said.exit_code == 0
    assert "from the zygote" in said.stdout
    assert "The zygote saves" in said.stdout

    found = json.loads(outrider("bots", "startup", "canary", "--runs", "1", "--json").stdout)
    assert len(found["plain_ms"]) == len(found["zygote_ms"]) == 1

    refused = outrider("bots", "startup", "nobody")
    assert refused.exit_code == 2
    assert "no bot 'nobody'; this fleet has: canary." in refused.output


def test_a_fleet_is_reloaded_one_by_one(run: Run) -> None:  # noqa: F811
    async def test(fleet: Fleet, command: Command) -> None:
        before = fleet.pid("a"), fleet.pid("b"), fleet.pid("worker")
        said = await command("bots", "reload", "--why", "version 2")
        assert said.exit_code == 0
        assert said.stdout.splitlines()[-1] == "all 2 run the new code."

        assert before[0] != fleet.pid("a")
        assert before[1] != fleet.pid("b")
        assert before[2] == fleet.pid("worker")
        order = [(name, what) for name, what, _ in fleet.events() if name in ("a", "b")]
        last_a = max(at for at, event in enumerate(order) if event == ("a", "ready"))
        assert last_a < order.index(("b", "asked to restart"))

    run(test)


def test_a_reload_stops_at_the_first_that_does_not_come_back(run: Run) -> None:  # noqa: F811
    async def test(fleet: Fleet, command: Command) -> None:
        flag = fleet.folder / "old"
        flag.touch()
        code = f"if not os.path.exists({str(flag)!r}): sys.exit(3)"
        once = python(f"{READY}\nimport sys, time\n{code}\nready(); time.sleep(600)")
        fleet.start(
            fleet.spec("c", once, readiness="sdk"), fleet.spec("d", SAYS_READY, readiness="sdk")
        )
        await fleet.becomes("ready", "c", "d")
        flag.unlink()
        later = fleet.pid("d")
        said = await command("bots", "reload")

        assert said.exit_code == 1
        assert "c did not come back: exited with code 3. Reloaded before it: 2 of 4; 1 left" in (
            said.output
        )
        assert fleet.pid("d") == later

    run(test)


def test_what_does_not_run_is_not_reloaded(run: Run) -> None:  # noqa: F811
    async def test(fleet: Fleet, command: Command) -> None:
        await command("bots", "stop", "a")
        said = await command("bots", "reload", "a")

        assert said.exit_code == 2
        assert "no bot 'a' runs; running are: b." in said.output
        assert fleet.state("a") == "stopped"

    run(test)
