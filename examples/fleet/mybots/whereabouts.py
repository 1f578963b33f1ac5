"""Where this fleet keeps its state, and finds its Bot API, which moves when it restarts."""

from __future__ import annotations

import os
from pathlib import Path

# Nothing listens on the discard port: until the server is there, a client sees an ordinary refused
# connection, which every framework knows how to retry.
NOBODY = "http://127.0.0.1:9"
# Each account of the fleet: its name, and the number its token begins with.
ACCOUNTS = {"canary": 7000000001, "ledger": 7000000002, "courier": 7000000003}


def data_dir() -> Path:
    """Return the folder of state; warming workers, which are no bots, use the fleet's own."""
    named = os.environ.get("OUTRIDER_DATA_DIR")
    folder = Path(named) if named else Path(__file__).resolve().parent.parent / ".outrider"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def exports_dir() -> Path:
    """Return where prices leaves CSV files for the archiver."""
    folder = data_dir() / "exports"
    folder.mkdir(exist_ok=True)
    return folder


def botapi_url() -> str:
    """Return the Bot API's present address, without a slash at its end."""
    try:
        return (data_dir() / "botapi.url").read_text(encoding="utf-8").strip() or NOBODY
    except FileNotFoundError:
        return NOBODY


def announce(url: str) -> None:
    """Publish the Bot API's address; a reader sees the old one or the new one, never a part."""
    written = data_dir() / f"botapi.url.{os.getpid()}"
    written.write_text(url, encoding="utf-8")
    written.replace(data_dir() / "botapi.url")


def token_of(name: str) -> str:
    """Return an account's token; it opens nothing outside this machine."""
    return f"{ACCOUNTS[name]}:{name}-works-on-this-machine-only"


def number(name: str, default: float) -> float:
    """Return a number from the environment; an unset or empty one is the default."""
    return float(os.environ.get(name) or default)
