"""Crash reports: how a bot ended, after how long, what it wrote last, and what was measured last.

The newest few of each process are kept in a file beside its log, so that they outlive the
supervisor.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from outrider.metrics.frame import Frame

KEPT = 10
LINES = 20
_LONGEST_LINE = 500
_MOST_NUMBERS = 40


class Report(msgspec.Struct):
    """One end that nobody asked for. ``code`` is negative for a signal, None when unknown."""

    at_s: float
    name: str
    pid: int | None
    code: int | None
    words: str
    lived_s: float
    crashes: int
    then: str
    log: list[str]
    metrics: dict[str, float]


def add(folder: Path, report: Report) -> None:
    """Keep a report, and the newest of those before. Raises OSError."""
    path = path_of(folder, report.name)
    reports = [*read(folder, report.name), report][-KEPT:]
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(msgspec.json.encode(reports))
    fresh.replace(path)


def read(folder: Path, name: str) -> list[Report]:
    """Return the reports of a process, oldest first."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path_of(folder, name).read_bytes(), type=list[Report])
    return []


def path_of(folder: Path, name: str) -> Path:
    """Return the file of a process's reports."""
    return folder / f"{name}.crashes.json"


def metrics(frame: Frame | None, measured: Mapping[str, float]) -> dict[str, float]:
    """Return what was known last: what the kernel said, and what the bot said of itself."""
    found = dict(measured)
    if frame is not None:
        if frame.loop_lag_s is not None:
            found["loop_lag_s"] = frame.loop_lag_s
        for numbers in (frame.gauges, frame.counters):
            found |= dict(list(numbers.items())[: _MOST_NUMBERS - len(found)])
    return found


def shortened(lines: list[str]) -> list[str]:
    """Return lines that are fit for a message."""
    return [line[:_LONGEST_LINE] for line in lines[-LINES:]]


def summary(report: Mapping[str, Any]) -> str:
    """Return one line on a report.

    >>> summary({"words": "killed by SIGKILL", "lived_s": 61.0, "crashes": 3, "log": ["a", "b"]})
    'killed by SIGKILL after 61 s, crash no. 3; last line: b'
    """
    text = f"{report['words']} after {report['lived_s']:.0f} s, crash no. {report['crashes']}"
    return text + (f"; last line: {report['log'][-1]}" if report["log"] else "")
