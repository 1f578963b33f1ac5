"""Find a browser for tests/browser, or install one. `make test` runs this before pytest.

An installed Chromium or Chrome is used as it is. Otherwise root on Debian gets the distribution's
own, which brings its libraries along, and everyone else the one that Playwright downloads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHOSEN = "OUTRIDER_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find() -> str | None:
    """Return the path of a browser that starts, or None."""
    named = (os.environ.get(CHOSEN), *map(shutil.which, NAMES), MAC, _playwrights_own())
    return next((path for path in named if path and _starts(path)), None)


def install() -> str | None:
    """Install a browser and return its path; None when that could not be done."""
    if os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get"):
        quietly = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update", "-qq"], quietly)
        _run(["apt-get", "install", "-qq", "--no-install-recommends", "chromium"], quietly)
        if found := find():
            return found
    _run([sys.executable, "-m", "playwright", "install", "chromium"], dict(os.environ))
    return find()


def _playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def _starts(path: str) -> bool:
    """Tell whether it runs: some distributions ship a stub that only says where to get it."""
    if not Path(path).is_file():
        return False
    try:
        ended = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run a step of the installation; what it could not do shows in the next search."""
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> None:
    """Print one line that says which browser the tests use."""
    already = find()
    chosen = already or install()
    if chosen:
        sys.stdout.write(f"browser: {chosen}{'' if already else ' (just installed)'}\n")
    else:
        sys.stdout.write(f"browser: none; tests/browser is skipped. Set {CHOSEN} to a Chromium.\n")


if __name__ == "__main__":
    main()
