"""Other process managers, as they are installed and configured by default, around one Python bot.

Each is installed by its own package manager into a folder of its own, the first time it is asked
for; what can't be installed is left out, and why is told.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAMES = ("supervisord", "circus", "pm2")
INSTALL_WITHIN_S = 300
# supervisord takes a process for started after one second, and its end before that for a failure.
SETTLED_S = 1.5

_SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[program:bot]
command={python} {bot}
directory={folder}
autorestart=true
"""
_CIRCUS = """
[circus]
endpoint = ipc://{folder}/circus-endpoint
pubsub_endpoint = ipc://{folder}/circus-pubsub
[watcher:bot]
cmd = {python} {bot}
working_dir = {folder}
copy_env = True
"""


@dataclass(slots=True)
class Managed:
    """One manager at work."""

    name: str
    version: str
    process: subprocess.Popen[bytes] | None = None
    stop_command: list[str] = field(default_factory=list)
    env: Mapping[str, str] = field(default_factory=dict)

    def stop(self) -> None:
        """End it and its bot."""
        if self.stop_command:
            subprocess.run(
                self.stop_command, env=self.env, check=False, capture_output=True, timeout=60
            )
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(name: str, bot: Path, env: Mapping[str, str], kept: Path) -> Managed:
    """Start a manager with one bot; ``kept`` holds what was installed.

    Raises:
        OSError, subprocess.SubprocessError: it can't be installed or started.
    """
    folder = bot.parent / name
    folder.mkdir()
    given = {"folder": folder, "python": sys.executable, "bot": bot}
    environment = {**os.environ, **env}
    if name == "pm2":
        program, version = _npm("pm2", kept)
        environment |= {"PM2_HOME": str(folder)}
        subprocess.run(
            [program, "start", str(bot), "--name", "bot", "--interpreter", sys.executable],
            env=environment, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        return Managed(name, version, None, [program, "kill"], environment)
    package = {"supervisord": "supervisor"}.get(name, name)
    folder_bin, version = _pip(package, kept)
    config = folder / f"{name}.ini"
    text, command = {
        "supervisord": (_SUPERVISORD, ["supervisord", "-n", "-c", str(config)]),
        "circus": (_CIRCUS, ["circusd", str(config)]),
    }[name]
    config.write_text(text.format(**given))
    log = (folder / "output.log").open("wb")
    with log:
        process = subprocess.Popen(
            [str(folder_bin / command[0]), *command[1:]],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    return Managed(name, version, process)


def _pip(package: str, kept: Path) -> tuple[Path, str]:
    place = kept / package
    if not (place / "bin" / "python").exists():
        _run([sys.executable, "-m", "venv", str(place)])
    python = str(place / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package])
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return place / "bin", _run([python, "-c", code])


def _npm(package: str, kept: Path) -> tuple[str, str]:
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed.")
    place = kept / package
    if not (place / "node_modules" / ".bin" / package).exists():
        place.mkdir(exist_ok=True)
        _run([npm, "install", "--prefix", str(place), "--no-audit", "--no-fund", package])
    package_file = place / "node_modules" / package / "package.json"
    version = package_file.read_text().partition('"version": "')[2].partition('"')[0]
    return str(place / "node_modules" / ".bin" / package), version


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN_S
    )
    return done.stdout.strip()
