"""What a phase measures: this host's stack, as settings, Redis, store, supervisor and tasks."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from outrider.clock import SYSTEM, Clock
from outrider.store import address
from outrider.supervisor import control

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import redis

    from outrider.settings import Settings
    from outrider.store.redis import RedisStore

_SNAPSHOT_TIMEOUT_S = 5.0


class Skipped(Exception):  # noqa: N818 - a verdict, not an error
    """Raised by a phase that has nothing to measure here; the text says why."""


class Tasks(Protocol):
    """Real tasks through the real broker, sent by whoever knows Celery.

    A task reads from the store and changes nothing. Nothing here waits for a worker, so that a
    validation which occupies the only free thread of a worker gets its turn to give up.
    """

    def send(self) -> str:
        """Send one task and return its id. Raises what the broker's client raises."""
        ...

    def finished(self, ids: Collection[str]) -> dict[str, bool]:
        """Return those of the tasks that ended: id -> whether it succeeded."""
        ...

    def forget(self, ids: Collection[str]) -> None:
        """Remove the results."""
        ...


@dataclass(frozen=True)
class Env:
    """The running stack of this host. ``tasks`` is None where nobody can send any."""

    settings: Settings
    redis_url: str
    redis: redis.Redis
    store: RedisStore
    tasks: Tasks | None = None
    clock: Clock = SYSTEM
    sleep: Callable[[float], None] = time.sleep
    run: str = field(default_factory=lambda: run_id(time.time()))

    def stack(self) -> dict[str, Any]:
        """Return where the stack listens, or an empty dict when none was started in this folder."""
        return address.read_stack(self.settings)

    def snapshot(self) -> dict[str, Any]:
        """Return the supervisor's word on its processes.

        Raises:
            SupervisorUnavailable: nobody answers in this folder.
        """
        found: dict[str, Any] = control.ask(
            self.settings.run_dir(), "snapshot", timeout_s=_SNAPSHOT_TIMEOUT_S
        )
        return found


def run_id(at_s: float) -> str:
    """Return a new name for a run: when it began, and something of its own."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s)) + f"-{uuid.uuid4().hex[:6]}"
