"""Reads a page part by part: what is damaged in Redis is named, and the rest of the page stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")
# What json, msgspec and a missing field raise; msgspec's own errors are ValueErrors.
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError)


class Parts:
    """Gathers ``notices``: sentences on the parts that could not be read."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def many(
        self, what: str, ask: Callable[P, list[T]], *given: P.args, **named: P.kwargs
    ) -> list[T]:
        """Return what ``ask`` does, nothing where a record is damaged. Redis' errors pass."""
        return self.one(what, ask, *given, **named) or []

    def one(self, what: str, ask: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
        """Return what ``ask`` does, None where a record is damaged. Redis' errors pass."""
        try:
            return ask(*given, **named)
        except _DAMAGED as error:
            self.notices.append(
                f"{what} can't be read: a record in Redis is damaged ({type(error).__name__})."
            )
            return None
