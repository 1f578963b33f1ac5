"""A snapshot as ``view.snapshot`` makes it, of a fleet that a test describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.web import view
from tests.unit.web.conftest import Fleet

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("canary", "echo", "ledger")
MEASURED = {"cpu_ratio": 0.1, "rss_bytes": 3e7, "uptime_s": 9000.0, "loop_lag_s": 0.004}


def found(
    names: tuple[str, ...] = NAMES, *, hosts: int = 1, values: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return a frame of bots that are ready, all measured, beside a full Redis and a queue."""
    fleet = Fleet()
    for number in range(hosts):
        host = f"host{number}"
        fleet.beat(host)
        named = {f"bot.{name}.{what}": n for name in names for what, n in MEASURED.items()}
        fleet.series(host, named | {"host.cpu.used_ratio": 0.25, **(values or {})})
        fleet.bots(*({"name": name, "state": "ready"} for name in names), host=host)
    fleet.series("fleet", {"redis.memory_bytes": 2e6, "celery.queue.outrider.alerts.length": 3.0})
    return snapshot(fleet)


def snapshot(fleet: Fleet) -> dict[str, Any]:
    client: Any = fleet.shelf
    seen = view.snapshot(fleet.store, client, fleet.now_s)
    return seen | {"problem": None, "notices": []}
