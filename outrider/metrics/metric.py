"""What is known of one kind of series."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "timing", "state"]
Unit = Literal["", "s", "bytes", "ratio"]

PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Metric:
    """One kind of series. ``pattern`` is its name with what varies in braces."""

    pattern: str
    kind: Kind
    unit: Unit
    help: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names in braces, in order."""
        return tuple(PLACE.findall(self.pattern))

    @property
    def is_own(self) -> bool:
        """Tell whether the name is a bot's own, of which only the bot knows the meaning."""
        return "{name}" in self.pattern
