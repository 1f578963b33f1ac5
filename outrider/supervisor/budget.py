"""Compares what all bots together may use with what the host has.

More memory than there is, is refused when settings are checked: the kernel would settle it by
killing. Cores may be promised twice, as bots mostly wait, but somebody should know the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outrider import units

if TYPE_CHECKING:
    from outrider.settings import Settings


@dataclass(frozen=True, slots=True)
class Budget:
    """Sums of limits over all instances that may run, and what the host has."""

    memory_bytes: int
    host_memory_bytes: int
    cores: float
    host_cores: int
    without_memory: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the host has what was promised."""
        return self.memory_bytes <= self.host_memory_bytes and self.cores <= self.host_cores

    def __str__(self) -> str:
        text = (
            f"limits of {units.show_bytes(self.memory_bytes)} of"
            f" {units.show_bytes(self.host_memory_bytes)} memory"
            f" and {self.cores:g} of {self.host_cores} cores"
        )
        if self.cores > self.host_cores:
            text += f": when all are busy each gets {self.host_cores / self.cores:.0%} of its limit"
        if self.without_memory:
            text += f"; no memory limit: {', '.join(self.without_memory)}"
        return text


def of(settings: Settings, *, host_memory_bytes: int, host_cores: int) -> Budget:
    """Return the sums for a fleet; a bot that scales counts with the most it may have."""
    bots = settings.bots
    return Budget(
        sum(bot.most_instances * (bot.limits.memory or 0) for bot in bots.values()),
        host_memory_bytes,
        sum(bot.most_instances * (bot.limits.cpu or 0.0) for bot in bots.values()),
        host_cores,
        tuple(name for name, bot in bots.items() if bot.most_instances and not bot.limits.memory),
    )
