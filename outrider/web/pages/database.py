"""The database: pools against the wall, who waits, who blocks whom, slow statements, indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.database import page
from outrider.store import keys
from outrider.web.pages import charts
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source

_NOTHING: dict[str, Any] = {
    "server": None, "wall": None, "pools": [], "waiting": {}, "blocked": [], "error": None,
    "slow_statements": [], "warnings": [], "advice": None, "queries": None, "reported_at_s": None,
}  # fmt: skip


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the page's data; a server that is away is said as ``error``."""
    del asked
    parts, settings = Parts(), source.settings
    rows = source.rows()
    found = parts.one("the database report", page.build, settings, source.client, rows) or _NOTHING
    return {
        **found,
        "named": settings.database.url is not None,
        "host": keys.FLEET,
        "charts": charts.of(source.store, keys.FLEET, charts.DATABASE),
        "notices": parts.notices,
    }
