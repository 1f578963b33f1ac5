"""The function in a cached function's place: made to its measure, so that a hit is quick.

A wrapper with ``*args, **kwargs`` would have to sort them out at each call; that alone costs more
than a hit may. So one is compiled with the function's own parameters, as ``dataclasses`` compiles
an ``__init__``: the interpreter itself then brings arguments by position, by name and by default
into one order. For ``def profile(user_id, lang="en")`` it reads ::

    def call(user_id, lang=None):                          # then given the function's own defaults
        try:
            entry = table[user_id, lang]
            kind = entry.kind
            if type(user_id) is kind[0] and type(lang) is kind[1]:   # 1, 1.0 and True are one key
                entry.served += 1
                return entry.shown
        except failures:        # not in the table, unhashable, or taken out at this instant
            pass
        return miss((user_id, lang), {})
"""

from __future__ import annotations

import functools
import inspect
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES_US = "_outrider_"
_FAILURES = (KeyError, TypeError, AttributeError)
# Of one of these types, equal values have equal keys, now and later.
_FLAT = frozenset({str, int, float, bool, type(None), bytes, UUID, date})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def wrap(
    function: Callable[..., Any],
    table: dict[Any, Any],
    miss: Callable[[tuple[Any, ...], Mapping[str, Any]], Any],
) -> Any:
    """Return a function of the same colour that looks in ``table`` and else calls ``miss``.

    ``miss`` gets all arguments, defaults too, by position where the function takes them so. What
    the table has under a call's :func:`name` bears ``shown``, ``served`` and, as ``kind``, the
    call's :func:`kind`.
    """
    is_async = inspect.iscoroutinefunction(function)
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if any(each.kind in _VARIABLE or each.name.startswith(_NAMES_US) for each in parameters):
        call = _any_arguments(signature, miss, is_async=is_async)
    else:
        call = _compiled(parameters, table, miss, is_async=is_async)
    return functools.wraps(function)(call)


def name(values: tuple[Any, ...]) -> Any:
    """Return what a call with these values is called in the table."""
    return values[0] if len(values) == 1 else values


def kind(values: tuple[Any, ...]) -> Any:
    """Return the types by which equal names are told apart; None if the call must not be shown."""
    kinds = tuple(map(type, values))
    if not _FLAT.issuperset(kinds):
        return None
    if float in kinds and any(value == 0 and type(value) is float for value in values):
        return None  # 0.0 and -0.0 are equal, and two keys
    return kinds[0] if len(kinds) == 1 else kinds


def _compiled(
    parameters: list[inspect.Parameter], table: dict[Any, Any], miss: Any, *, is_async: bool
) -> Any:
    names = [each.name for each in parameters]
    if len(names) == 1:
        same = f"{_NAMES_US}type({names[0]}) is {_NAMES_US}entry.kind"
    else:
        same = " and ".join(
            f"{_NAMES_US}type({each}) is {_NAMES_US}kind[{at}]" for at, each in enumerate(names)
        )
    by_position = [each.name for each in parameters if each.kind in _POSITIONAL]
    by_name = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    arguments = (
        f"({''.join(f'{each}, ' for each in by_position)}),"
        f" {{{', '.join(f'{each!r}: {each}' for each in by_name)}}}"
    )
    lines = [
        f"{'async ' * is_async}def call({_listed(parameters)}):",
        " try:",
        f"  {_NAMES_US}entry = {_NAMES_US}table[{', '.join(names) or '()'}]",
        f"  {_NAMES_US}kind = {_NAMES_US}entry.kind" if len(names) > 1 else "",
        f"  if {same or 'True'}:",
        f"   {_NAMES_US}entry.served += 1",
        f"   return {_NAMES_US}entry.shown",
        f" except {_NAMES_US}failures:",
        "  pass",
        f" return {'await ' * is_async}{_NAMES_US}miss({arguments})",
    ]
    found: dict[str, Any] = {
        f"{_NAMES_US}table": table,
        f"{_NAMES_US}miss": miss,
        f"{_NAMES_US}failures": _FAILURES,
        f"{_NAMES_US}type": type,
    }
    # Names of parameters, which are identifiers, are all that goes in from outside.
    exec(compile("\n".join(lines), "<outrider.cached>", "exec"), found)  # noqa: S102
    call = found["call"]
    call.__defaults__ = tuple(
        each.default
        for each in parameters
        if each.kind in _POSITIONAL and each.default is not inspect.Parameter.empty
    )
    call.__kwdefaults__ = {
        each.name: each.default
        for each in parameters
        if each.kind not in _POSITIONAL and each.default is not inspect.Parameter.empty
    }
    return call


def _listed(parameters: list[inspect.Parameter]) -> str:
    """Return the parameters as they are written, each default as None."""
    bare = [
        each.replace(
            annotation=inspect.Parameter.empty,
            default=None if each.default is not inspect.Parameter.empty else each.default,
        )
        for each in parameters
    ]
    return str(inspect.Signature(bare))[1:-1]


def _any_arguments(signature: inspect.Signature, miss: Any, *, is_async: bool) -> Any:
    """Return a wrapper for ``*args`` or ``**kwargs``; it looks in no table."""

    def bind(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args, bound.kwargs

    if is_async:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await miss(*bind(args, kwargs))

        return call_async

    def call(*args: Any, **kwargs: Any) -> Any:
        return miss(*bind(args, kwargs))

    return call
