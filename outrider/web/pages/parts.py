"""Reads a page part by part: what is damaged in Redis is named, and the rest of the page stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Parts:
    """Gathers ``notices``: sentences on the parts that could not be read."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def read(self, what: str, ask: Callable[[], T], otherwise: T) -> T:
        """Return a part, or ``otherwise`` where a record is damaged. Redis' errors pass."""
        try:
            return ask()
        # What json, msgspec and a missing field raise; msgspec's errors are ValueErrors.
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self.notices.append(
                f"{what} can't be read: a record in Redis is damaged ({type(error).__name__})."
            )
            return otherwise
