"""The record of orders: who gave which to whom, why, and what came of it.

One JSON object a line, beside the logs, so that it outlives the supervisor and needs no Redis. The
peer's user and process come from the kernel; ``who`` is what the client says of itself.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FILE = "actions.jsonl"
MOST_BYTES = 4 << 20
_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a socket, as the kernel knows it."""

    pid: int
    uid: int

    def __str__(self) -> str:
        try:
            name = pwd.getpwuid(self.uid).pw_name
        except KeyError:
            name = f"uid {self.uid}"
        return f"{name} (pid {self.pid})"


def keep(
    folder: Path, *, what: str, bot: str, who: str, peer: Peer, why: str, result: str
) -> dict[str, Any]:
    """Add an entry, and return it. Raises OSError when it can't be written."""
    entry = {
        "at_s": round(time.time(), 3), "what": _cut(what), "bot": _cut(bot), "who": _cut(who),
        "uid": peer.uid, "peer": str(peer), "why": _cut(why), "result": _cut(result),
    }  # fmt: skip
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(json.dumps(entry) + "\n")
    if path.stat().st_size > MOST_BYTES:
        path.replace(path.with_name(f"{FILE}.1"))
    return entry


def read(folder: Path, *, most: int, bot: str = "") -> list[dict[str, Any]]:
    """Return the newest entries, oldest first; of one bot, if it is named."""
    found: list[dict[str, Any]] = []
    for name in (f"{FILE}.1", FILE):
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:  # the end of a line that a full disk cut off
                continue
            if isinstance(entry, dict) and bot in ("", entry.get("bot")):
                found.append(entry)
    return found[-most:] if most else []


def _cut(text: str) -> str:
    return text[:_LONGEST_TEXT]
