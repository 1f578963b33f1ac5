"""What to do about a bottleneck: an action that exists as a task, with the evidence it rests on.

No recommendation without evidence; no bottleneck, no recommendation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.analysis.bottleneck import Bottleneck


@dataclass(frozen=True, slots=True)
class Recommendation:
    """An action in words, and the task with arguments that carries it out."""

    text: str
    task: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def against(bottleneck: Bottleneck | None) -> list[Recommendation]:
    """Return what helps against a bottleneck, the most direct first."""
    if bottleneck is None:
        return []
    bot, resource = bottleneck.cause, bottleneck.resource
    if resource == "memory" and bot:
        return [
            Recommendation(f"Look into {bot}: it holds most of the memory.",
                           "outrider.supervise.diagnose", {"bot": bot}),
            Recommendation(f"Restart {bot} to free its memory now.",
                           "outrider.supervise.restart", {"bot": bot, "why": "memory is short"}),
        ]  # fmt: skip
    if resource.startswith(("database", "connection pool")):
        return [
            Recommendation("Compare pool sizes with the server's limit.", "outrider.tune.database")
        ]
    if bot:
        return [
            Recommendation(f"Look into {bot}: it uses most of the {resource}.",
                           "outrider.supervise.diagnose", {"bot": bot})
        ]  # fmt: skip
    return [Recommendation(f"See which process uses the {resource}.", "outrider.tune.process")]
