"""aiogram: updates and handlers of a Dispatcher with all its routers, API calls of its bots.

Handlers are seen by an inner middleware on the root's observers, which aiogram runs for nested
routers too, also those included later. API calls are seen at the session's ``make_request``, below
every request middleware, so that each attempt of a retrying middleware counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.api import TOO_MANY_REQUESTS, Api
from outrider.sdk.integrations.meter import given, is_watched, now, watched_async
from outrider.sdk.integrations.pending import Pending
from outrider.sdk.integrations.updates import Updates, sent_at_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outrider.sdk.integrations.meter import Meter

    Next = Callable[[Any, dict[str, Any]], Awaitable[Any]]

# The names of aiogram's refusals, whose codes it does not keep.
_CODES = {
    "TelegramRetryAfter": TOO_MANY_REQUESTS,
    "TelegramBadRequest": 400,
    "TelegramMigrateToChat": 400,
    "TelegramUnauthorizedError": 401,
    "TelegramForbiddenError": 403,
    "TelegramNotFound": 404,
    "TelegramConflictError": 409,
    "TelegramEntityTooLarge": 413,
    "TelegramServerError": 500,
    "RestartingTelegram": 500,
}


def attach(thing: Any, meter: Meter) -> None:
    """Measure a Dispatcher, a Bot or a session."""
    if hasattr(thing, "feed_update"):
        _attach_dispatcher(thing, meter)
    else:
        attach_session(getattr(thing, "session", thing), meter)


def attach_session(session: Any, meter: Meter) -> None:
    """Measure the API calls of a session, once."""
    if is_watched(session.make_request):
        return
    api = meter.part(Api)

    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        method = given(args, kwargs, 1, "method").__api_method__
        api.ended(method, start, error)
        code = _CODES.get(type(error).__name__)
        if code is not None:
            api.refused(method, code, getattr(error, "retry_after", None))
        elif error is not None:
            api.unanswered(error)

    session.make_request = watched_async(session.make_request, meter.guard(look))


def _attach_dispatcher(dispatcher: Any, meter: Meter) -> None:
    updates, pending = meter.part(Updates), meter.part(Pending)

    def look(bot: Any) -> None:
        attach_session(bot.session, meter)
        pending.watch(bot.id, lambda: _pending(bot))

    watch = meter.guard(look)

    async def started(bot: Any, bots: Any = ()) -> None:
        for each in bots or (bot,):
            watch(each)

    dispatcher.startup.register(started)
    dispatcher.shutdown.register(pending.stop)
    dispatcher.update.outer_middleware.register(_on_update(meter))
    for kind, observer in dispatcher.observers.items():
        if kind != "update":
            observer.middleware.register(_on_handler(updates))


def _on_update(meter: Meter) -> Any:
    updates, arrived = meter.part(Updates), _arrived(meter)

    async def on_update(handler: Next, update: Any, data: dict[str, Any]) -> Any:
        arrived(update, data)
        start = updates.begin()
        try:
            return await handler(update, data)
        except BaseException as error:
            if not _is_control(error):
                updates.failed(error)
            raise
        finally:
            updates.end(start)

    return on_update


def _on_handler(updates: Updates) -> Any:
    async def on_handler(handler: Next, event: Any, data: dict[str, Any]) -> Any:
        name = updates.handler(data["handler"].callback)
        start = now()
        try:
            result = await handler(event, data)
        except BaseException as error:
            updates.handled(name, start, None if _is_control(error) else error)
            raise
        updates.handled(name, start)
        return result

    return on_handler


def _arrived(meter: Meter) -> Callable[..., None]:
    updates = meter.part(Updates)

    def look(update: Any, data: dict[str, Any]) -> None:
        attach_session(data["bot"].session, meter)
        for kind, content in vars(update).items():
            # Its own `event_type` hashes the whole update, which costs as much as all the rest.
            if content is not None and kind != "update_id":
                updates.arrived(kind, sent_at_s(content))
                return
        updates.arrived("unknown")  # newer than this aiogram

    return meter.guard(look)


def _is_control(error: BaseException) -> bool:
    """Tell whether an exception only says which handler comes next."""
    return type(error).__name__ in {"SkipHandler", "CancelHandler"}


async def _pending(bot: Any) -> float:
    """Ask below the bot's own middlewares, which may be told to retry for long."""
    from aiogram.methods import GetWebhookInfo

    info = await bot.session.make_request(bot, GetWebhookInfo())
    return float(info.pending_update_count)
