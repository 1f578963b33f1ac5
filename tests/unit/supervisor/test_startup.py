from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from outrider.errors import BadArgument
from outrider.supervisor import startup
from outrider.supervisor.spec import ProcessSpec

if TYPE_CHECKING:
    from pathlib import Path

BOT = """
import asyncio, colorsys, socket, threading, time
import outrider

async def main():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    time.sleep(0.05)
    outrider.Bot("canary").ready()
    await asyncio.sleep(600)

async def leaves():
    print("no token")
"""


def spec(folder: Path, function: str, **options: object) -> ProcessSpec:
    (folder / "mybots.py").write_text(BOT)
    entry = f"mybots:{function}"
    argv = (sys.executable, "-m", "outrider.supervisor.entry", entry)
    usual = {"cwd": str(folder), "readiness": "sdk", "entry": entry, "env": {"OUTRIDER_BOT": "a"}}
    return ProcessSpec("a", argv, **(usual | options))  # type: ignore[arg-type]


def test_a_start_is_measured_in_all_its_parts(tmp_path: Path) -> None:
    found = asyncio.run(startup.measure(spec(tmp_path, "main"), runs=2))

    assert (len(found.plain_ms), len(found.zygote_ms)) == (2, 2)
    assert found.boot_ms is not None
    assert found.why_not == ""
    phases = found.phases
    parts = phases.interpreter_ms + phases.imports_ms + phases.connects_ms + phases.warming_ms
    assert parts == pytest.approx(phases.ready_ms)
    assert phases.warming_ms >= 50
    assert 0 < phases.connects_ms < phases.ready_ms
    assert phases.imports_ms > 0
    assert "colorsys" in dict(found.modules)
    times = [ms for _, ms in found.modules]
    assert times == sorted(times, reverse=True)


def test_a_bot_that_is_not_forked_is_told_why(tmp_path: Path) -> None:
    found = asyncio.run(startup.measure(spec(tmp_path, "main", preload=("nowhere",)), runs=1))

    assert (found.zygote_ms, found.boot_ms) == ([], None)
    assert "preloading nowhere failed" in found.why_not


def test_a_bot_that_ends_instead_is_refused_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match=r"a ended before it said .*\n  no token"):
        asyncio.run(startup.measure(spec(tmp_path, "leaves"), runs=1))


def test_a_command_has_no_start_to_measure() -> None:
    with pytest.raises(BadArgument, match="has no entry"):
        asyncio.run(startup.measure(ProcessSpec("a", ("sh",)), runs=1))
