"""How long to wait before trying again: longer each time, and never all bots at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def pauses(first_s: float = 0.2, most_s: float = 5.0) -> Iterator[float]:
    """Yield waits that double up to ``most_s``, each shortened by up to half by chance."""
    wait_s = first_s
    while True:
        yield wait_s * random.uniform(0.5, 1.0)
        wait_s = min(most_s, wait_s * 2)
