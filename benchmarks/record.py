"""Records series with the project's own collectors, for benchmarks that need real ones.

``python -m benchmarks.record --for 3h --every 1s --out FILE.npz`` starts a stack with the example
fleet in a folder of its own, asks host and bots at every tick, and writes what it has every five
minutes and at the end: ``times_s`` [ticks], ``names`` [series], ``values`` [ticks, series] (the NaN
with the payload MISSING where a tick lacks a series) and ``interval_s``.

Ctrl-C, SIGTERM or the end of the terminal end it early: what there is is written and the stack is
stopped. It ends with 2 when the stack ends by itself; what was recorded until then is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from outrider import units
from outrider.errors import OutriderError
from outrider.metrics.bots import BotsCollector
from outrider.metrics.host import HostCollector
from outrider.store import rows
from outrider.supervisor import control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.samples import Window

FLEET = Path(__file__).parent.parent / "examples" / "fleet"
READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 60.0
_ENDS_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StackEndedError(Exception):
    """The stack that is recorded is not there any more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="lasts", default="3h", help="how long, such as 3h")
    parser.add_argument("--every", default="1s", help="the interval, such as 1s")
    parser.add_argument("--save-every", default="5m", help="how often it is written, such as 5m")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, *.npz")
    parsed = parser.parse_args()
    try:
        record(
            parsed.out,
            seconds=units.parse_duration(parsed.lasts),
            every_s=units.parse_duration(parsed.every),
            saved_every_s=units.parse_duration(parsed.save_every),
        )
    except KeyboardInterrupt:
        print(f"ended early; {parsed.out} has what was recorded", file=sys.stderr)
    except StackEndedError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def record(out: Path, *, seconds: float, every_s: float, saved_every_s: float = 300.0) -> None:
    """Run a fleet and record it. What was recorded is written also when it is interrupted.

    Raises:
        StackEndedError: the stack ended before the time was over.
        KeyboardInterrupt: Ctrl-C, or another signal that ends us.
    """
    kept: list[tuple[float, dict[str, float]]] = []
    with interruptible(), tempfile.TemporaryDirectory(prefix="outrider-record-") as folder:
        fleet = Path(folder) / "fleet"
        shutil.copytree(FLEET, fleet, ignore=shutil.ignore_patterns(".outrider", "__pycache__"))
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("OUTRIDER")
            },
            "OUTRIDER_CONFIG": str(fleet / "outrider.toml"),
            "OUTRIDER_DATA_DIR": str(Path(folder) / "data"),
        }
        # In a session of its own: a Ctrl-C is ours, and we stop it when all is written.
        stack = subprocess.Popen(
            [sys.executable, "-m", "outrider", "up"], cwd=fleet, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            run = Path(folder) / "data" / "run"
            wait_for(run, stack)
            collect(
                run, stack, kept, out,
                seconds=seconds, every_s=every_s, saved_every_s=saved_every_s,
            )  # fmt: skip
        finally:
            with uninterrupted():
                try:
                    if kept:
                        save(out, kept, every_s)
                finally:
                    stop(stack)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make whatever ends us do what Ctrl-C does: leave by way of every ``finally``."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with handled(interrupt):
        yield


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Do not end before what is under way is done."""
    with handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def handled(handler: Any) -> Iterator[None]:
    # What is ignored already stays so: nohup does that.
    heard = [number for number in _ENDS_US if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def stop(stack: subprocess.Popen[bytes]) -> None:
    """Stop a stack, by force when it does not listen."""
    if stack.poll() is not None:
        return
    stack.send_signal(signal.SIGTERM)
    try:
        stack.wait(STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(stack.pid, signal.SIGKILL)
        stack.wait()
        print("the stack did not stop and was killed; look for its bots", file=sys.stderr)


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
    stack: subprocess.Popen[bytes],
    kept: list[tuple[float, dict[str, float]]],
    out: Path,
    *,
    seconds: float,
    every_s: float,
    saved_every_s: float,
) -> None:
    """Take a row at every tick.

    Raises:
        StackEndedError: the stack ended before the time was over.
    """
    host, bots = HostCollector(), BotsCollector()
    tick = int(time.time() / every_s) + 1
    until, saved = tick + int(seconds / every_s), time.monotonic()
    while tick < until:
        time.sleep(max(0.0, tick * every_s - time.time()))
        now = time.time()
        try:
            snapshot = control.ask(run, "snapshot", timeout_s=5)
        except OutriderError as error:
            if stack.poll() is not None:
                raise StackEndedError(
                    f"the stack has ended (exit code {stack.returncode}) after {len(kept)} ticks: "
                    f"{out if kept else 'nothing'} is kept; try `make up` to see why."
                ) from None
            print(f"tick {tick} is missing: {error}", file=sys.stderr)
        else:
            kept.append((tick * every_s, host.collect(now) | bots.collect(snapshot, now)))
        if kept and time.monotonic() - saved > saved_every_s:
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
