"""What a route asks of its visitor: declared at the route, and closed where nothing is declared.

A forgotten declaration must not open anything: what only reads needs a viewer, and every other
method an operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from starlette.routing import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.routing import BaseRoute
    from starlette.types import Scope

Role = Literal["viewer", "operator"]
Need = Literal["anyone", "viewer", "operator"]
ANYONE: Need = "anyone"
VIEWER: Role = "viewer"
OPERATOR: Role = "operator"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_RANK: dict[Need, int] = {"anyone": 0, "viewer": 1, "operator": 2}
_DECLARED = "__outrider_needs__"
_Endpoint = TypeVar("_Endpoint", bound="Callable[..., object]")


def requires(need: Need) -> Callable[[_Endpoint], _Endpoint]:
    """Declare who may use an endpoint, by any of its methods."""

    def declare(endpoint: _Endpoint) -> _Endpoint:
        setattr(endpoint, _DECLARED, need)
        return endpoint

    return declare


def needed(routes: Sequence[BaseRoute], scope: Scope) -> Need:
    """Return who may make this request; it need not lead anywhere."""
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL:
            declared: Need | None = getattr(getattr(route, "endpoint", None), _DECLARED, None)
            if declared:
                return declared
            break
    return VIEWER if scope["method"] in SAFE_METHODS else OPERATOR


def allows(role: Role, need: Need) -> bool:
    """Tell whether a role is enough.

    >>> allows("viewer", "operator"), allows("operator", "viewer")
    (False, True)
    """
    return _RANK[role] >= _RANK[need]
