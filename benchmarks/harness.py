"""What all benchmarks share: their three options, and the one line of JSON at their end."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_DATA = Path("../shared/data")
EXIT_NO_DATA = 2


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark was called."""

    data: Path
    quick: bool
    recording: Path | None = None


def options(what: str, *, needs: str | None = None, recording: bool = False) -> Options:
    """Parse the command line; ``needs`` names a folder that must lie in the data folder.

    With ``recording`` there is an option that names a file of recorded series.
    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of public data")
    parser.add_argument("--quick", action="store_true", help="shorter runs, wider spread")
    parser.add_argument("--json", action="store_true", help="nothing but the JSON line")
    if recording:
        parser.add_argument("--recording", type=Path, help="a file that benchmarks.record wrote")
    parsed = parser.parse_args()
    if needs and not (parsed.data / needs).is_dir():
        sys.stderr.write(
            f"{parsed.data / needs} is missing; name the data folder with --data DIR.\n"
        )
        raise SystemExit(EXIT_NO_DATA)
    return Options(parsed.data, parsed.quick, parsed.recording if recording else None)


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Return median, least and greatest of repeated measurements."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "runs": len(values),
    }


def finish(name: str, figures: dict[str, Any], peers: dict[str, Any]) -> None:
    """Print the result as one line of JSON."""
    machine = {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load_1m": round(os.getloadavg()[0], 2),
    }
    sys.stdout.write(
        json.dumps({"benchmark": name, "figures": figures, "peers": peers, "machine": machine})
        + "\n"
    )
