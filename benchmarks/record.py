"""Records series with the project's own collectors, for benchmarks that need real ones.

``python -m benchmarks.record --for 3h --every 1s --out FILE.npz`` starts a stack with the example
fleet in a folder of its own, asks host and bots at every tick, and writes what it has every five
minutes and at the end, Ctrl-C included: ``times_s`` [ticks], ``names`` [series], ``values``
[ticks, series] (the NaN with the payload MISSING where a tick lacks a series) and ``interval_s``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from outrider import units
from outrider.errors import OutriderError
from outrider.metrics.bots import BotsCollector
from outrider.metrics.host import HostCollector
from outrider.store import rows
from outrider.supervisor import control

if TYPE_CHECKING:
    from outrider.samples import Window

FLEET = Path(__file__).parent.parent / "examples" / "fleet"
SAVED_EVERY_S = 300.0
READY_WITHIN_S = 90.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="lasts", default="3h", help="how long, such as 3h")
    parser.add_argument("--every", default="1s", help="the interval, such as 1s")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, *.npz")
    parsed = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    record(
        parsed.out,
        seconds=units.parse_duration(parsed.lasts),
        every_s=units.parse_duration(parsed.every),
    )


def record(out: Path, *, seconds: float, every_s: float) -> None:
    """Run a fleet and record it. What was recorded is written also when it is interrupted."""
    kept: list[tuple[float, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(prefix="outrider-record-") as folder:
        fleet = Path(folder) / "fleet"
        shutil.copytree(FLEET, fleet, ignore=shutil.ignore_patterns(".outrider", "__pycache__"))
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("OUTRIDER")
            },
            "OUTRIDER_CONFIG": str(fleet / "outrider.toml"),
            "OUTRIDER_DATA_DIR": str(Path(folder) / "data"),
        }
        stack = subprocess.Popen(
            [sys.executable, "-m", "outrider", "up"], cwd=fleet, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            run = Path(folder) / "data" / "run"
            wait_for(run, stack)
            collect(run, kept, out, seconds=seconds, every_s=every_s)
        finally:
            if kept:
                save(out, kept, every_s)
            stack.send_signal(signal.SIGTERM)
            stack.wait()


def wait_for(run: Path, stack: subprocess.Popen[bytes]) -> None:
    """Wait until the supervisor answers."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            control.ask(run, "snapshot", timeout_s=5)
        except OutriderError:
            if stack.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the stack does not start; try `make up`.") from None
            time.sleep(0.2)
        else:
            return


def collect(
    run: Path,
    kept: list[tuple[float, dict[str, float]]],
    out: Path,
    *,
    seconds: float,
    every_s: float,
) -> None:
    """Take a row at every tick."""
    host, bots = HostCollector(), BotsCollector()
    tick = int(time.time() / every_s) + 1
    until, saved = tick + int(seconds / every_s), time.monotonic()
    while tick < until:
        time.sleep(max(0.0, tick * every_s - time.time()))
        now = time.time()
        try:
            snapshot = control.ask(run, "snapshot", timeout_s=5)
        except OutriderError as error:
            print(f"tick {tick} is missing: {error}", file=sys.stderr)
        else:
            kept.append((tick * every_s, host.collect(now) | bots.collect(snapshot, now)))
        if time.monotonic() - saved > SAVED_EVERY_S:
            save(out, kept, every_s)
            saved = time.monotonic()
        tick = max(tick + 1, int(time.time() / every_s))


def save(out: Path, kept: list[tuple[float, dict[str, float]]], every_s: float) -> None:
    """Write what there is; the file is whole at any moment."""
    window = side_by_side(kept)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.new.npz")
    np.savez_compressed(
        fresh,
        times_s=window.times_s,
        names=np.array(window.names),
        values=window.values,
        interval_s=every_s,
    )
    fresh.replace(out)


def side_by_side(kept: list[tuple[float, dict[str, float]]]) -> Window:
    """Return rows as a window."""
    packed, schemas = [], {}
    for at_s, row in kept:
        schema_id, _ = rows.schema_of(row)
        schemas[schema_id] = tuple(row)
        packed.append((at_s, rows.pack(schema_id, row)))
    return rows.to_window(packed, schemas)


if __name__ == "__main__":
    main()
