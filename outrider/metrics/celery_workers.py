"""Workers of Celery as their heartbeats tell: one lives while it is heard, not until it leaves.

A worker that is killed says nothing, so that whoever waits for its ``worker-offline`` believes for
ever that it is up. Here the age of its last heartbeat decides. One that said goodbye is *offline*,
which is no cause for alarm; one that only fell silent is *silent*, which is. Either is forgotten
after an hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

# Workers beat every two seconds; Celery itself allows for delays of a few beats.
SILENT_AFTER_S = 15.0
SILENT_AFTER_BEATS = 5
FORGOTTEN_AFTER_S = 3600.0
MOST_WORKERS = 1000


class Worker(msgspec.Struct, kw_only=True):
    """What is known of one worker.

    ``at_s`` is when it was last heard, by the clock of who heard it. ``processed`` is how many
    tasks it says it began since its start, ``base`` what that was when counting began, ``heard`` of
    how many we know, ``behind`` the difference at its last heartbeat, ``unseen`` what was counted
    as never heard of.
    """

    pid: int = 0
    at_s: float = 0.0
    every_s: float = 2.0
    active: int = 0
    offline: bool = False
    processes: int | None = None
    queues: tuple[str, ...] = ()
    processed: int = 0
    base: int | None = None
    heard: int = 0
    behind: int = 0
    unseen: int = 0

    def state(self, now_s: float) -> str:
        """Return ``up``, ``offline`` (it said goodbye) or ``silent``."""
        if self.offline:
            return "offline"
        patience_s = max(SILENT_AFTER_S, SILENT_AFTER_BEATS * self.every_s)
        return "up" if now_s - self.at_s <= patience_s else "silent"

    def forgotten(self, now_s: float) -> bool:
        """Tell whether nobody needs to know of it any more."""
        return now_s - self.at_s > FORGOTTEN_AFTER_S

    def missed(self, processed: int) -> int:
        """Take a heartbeat's count of tasks. Return how many more ran that no event told of.

        A task's event may come a moment after the heartbeat that counts it; so a task is missed
        only when two heartbeats in a row count it.
        """
        self.processed = processed
        if self.base is None or processed < self.base:
            self.base, self.heard, self.behind, self.unseen = processed, 0, 0, 0
            return 0
        behind = processed - self.base - self.heard
        settled = min(behind, self.behind)
        self.behind = behind
        more = max(0, settled - self.unseen)
        self.unseen += more
        return more


_DECODER = msgspec.json.Decoder(Worker)


def encode(worker: Worker) -> str:
    """Return a worker as it is kept."""
    return msgspec.json.encode(worker).decode()


def parse(found: Mapping[bytes, bytes]) -> dict[str, Worker]:
    """Return workers by name; what can't be read is passed over."""
    workers = {}
    for name, text in found.items():
        try:
            workers[name.decode("utf-8", "replace")] = _DECODER.decode(text)
        except msgspec.DecodeError:
            continue
    return workers
