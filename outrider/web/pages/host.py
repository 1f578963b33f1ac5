"""One host: how it is and why, its charts, its bots, and what was found on it of late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.analysis import findings
from outrider.errors import BadArgument
from outrider.web import records, view
from outrider.web.pages import alerts, changes, charts
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

FOUND_S = 86_400.0
MOST = 50


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return all that is known of the host ``name``; without a name, only which there are.

    Raises:
        BadArgument: no such host.
    """
    now_s = source.clock.now()
    frame = view.snapshot(source.store, source.client, now_s)
    others = [{part: host[part] for part in ("key", "name", "state", "fresh")}
              for host in frame["hosts"]]  # fmt: skip
    name = asked.get("name", "")
    if not name:
        return {"host": None, "hosts": others}
    found = next((host for host in frame["hosts"] if host["key"] == name), None)
    if found is None:
        known = ", ".join(each["name"] for each in others[:20]) or "none yet"
        raise BadArgument(f"host = {records.clean(name)!r} is not known; known are: {known}.")
    parts = Parts()
    return {
        "host": found,
        "hosts": others,
        "bots": [
            {part: bot[part] for part in (
                "name", "host_key", "state", "health", "reason", "uptime_s", "restarts",
                "cpu_ratio", "rss_bytes", "loop_lag_s", "stale",
            )}
            for bot in frame["bots"] if bot["host_key"] == name
        ],
        "alerts": [each for each in alerts.active(source, parts) if each["on_host"] == name],
        "charts": charts.of(source.store, name, charts.HOST),
        "findings": findings.read(source.client, name, now_s - FOUND_S)[:MOST],
        "events": [each for each in changes.timeline(source, parts) if each["host"] == name][:MOST],
        "notices": parts.notices,
    }  # fmt: skip
