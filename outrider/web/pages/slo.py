"""Every objective: what is left of its budget, how fast it burns, who spends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.slo import maintenance, objective, status
from outrider.web.pages.parts import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.web.source import Source


def shown(source: Source, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``outrider slo list`` does, those that burn fastest first, and maintenance."""
    del asked
    client, parts = source.client, Parts()
    objectives = objective.of_settings(source.settings)
    planned = parts.many("maintenance", maintenance.planned, client)
    return {
        "objectives": parts.many("the budgets", status.of_all, client, source.tiers, objectives),
        "maintenance": [each.plain() for each in reversed(planned)][:50],
        "notices": parts.notices,
    }
