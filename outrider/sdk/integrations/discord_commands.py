"""discord.py: application commands, views and modals, which have no door in the client.

Their classes are watched once for the process, whichever client asks first, and record for the
clients that are instrumented; others are passed through.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from discord.app_commands import Command, ContextMenu
from discord.ui import Modal
from discord.ui.view import BaseView

from outrider.sdk.integrations.meter import is_watched

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Meter
    from outrider.sdk.integrations.updates import Updates

_CLIENTS: weakref.WeakKeyDictionary[Any, tuple[Updates, Meter]] = weakref.WeakKeyDictionary()


def watch(client: Any, updates: Updates, meter: Meter) -> None:
    """Record what belongs to this client from now on."""
    _CLIENTS[client] = updates, meter
    if is_watched(Command._do_call):  # noqa: SLF001 - what every kind of command goes through
        return
    for kind, method in ((Command, "_do_call"), (ContextMenu, "_invoke")):
        setattr(kind, method, _commanded(getattr(kind, method)))
    for view in (BaseView, Modal):  # each has its own
        setattr(view, "_scheduled_task", _scheduled(view._scheduled_task))  # noqa: B010, SLF001


def original(error: BaseException) -> BaseException:
    """Return what a command raised, out of the error that discord.py wraps it in."""
    inner: BaseException = getattr(error, "original", error)
    return inner


def _commanded(run: Any) -> Any:
    async def measured(self: Any, told: Any, *args: Any) -> Any:
        found = _of(told)  # of an Interaction, or the Context of a hybrid command
        if found is None:
            return await run(self, told, *args)
        updates, _ = found
        name, start = updates.handler(self.callback), updates.begin()
        try:
            result = await run(self, told, *args)
        except BaseException as error:
            updates.handled(name, start, error)
            updates.failed(original(error))
            raise
        finally:
            updates.end(start)
        updates.handled(name, start)
        return result

    measured.outrider = True  # type: ignore[attr-defined]
    return measured


def _scheduled(run: Any) -> Any:
    async def measured(self: Any, *args: Any) -> Any:
        found = _found(args)
        if found is None:
            return await run(self, *args)
        updates, meter = found
        meter.guard(_watch_errors)(self, updates)
        name, start = updates.handler(_callback(self, args)), updates.begin()
        try:
            return await run(self, *args)
        finally:
            updates.end(start)
            updates.handled(name, start)

    return measured


def _watch_errors(view: Any, updates: Updates) -> None:
    """Look at ``on_error``: a view keeps what its callbacks raise, and gives it that."""
    on_error = view.on_error
    if is_watched(on_error):
        return

    async def measured(interaction: Any, error: Exception, *item: Any) -> None:
        updates.broken(updates.handler(_callback(view, item)))
        updates.failed(error)
        await on_error(interaction, error, *item)

    measured.outrider = True  # type: ignore[attr-defined]
    view.on_error = measured


def _callback(view: Any, args: tuple[Any, ...]) -> Any:
    """Return what runs: a modal's ``on_submit``, or the callback of the item that was used."""
    if isinstance(view, Modal) or not args:
        return type(view).on_submit
    callback = args[0].callback  # written in the view, it is wrapped; in the item, it is not
    return getattr(callback, "callback", callback)


def _found(args: tuple[Any, ...]) -> tuple[Updates, Meter] | None:
    return next((found for told in args[:2] if (found := _of(told)) is not None), None)


def _of(told: Any) -> tuple[Updates, Meter] | None:
    """Return who measures for the client that an Interaction or a Context belongs to."""
    client = getattr(told, "bot", None) or getattr(told, "client", None)
    try:
        return _CLIENTS.get(client)
    except TypeError:  # what stands in for a client, in somebody's test, can't be referred to
        return None
