"""python-telegram-bot: updates, handlers and jobs of an Application, API calls of its bot.

Its classes have ``__slots__``, so the objects get a class of their own with a few methods
overridden. Handlers and jobs are seen at their ``callback``, those inside conversations too; API
calls at the request object, below any rate limiter, so that each of its attempts counts.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.api import TOO_MANY_REQUESTS, Api
from outrider.sdk.integrations.meter import given, is_watched, subclass, watched_async
from outrider.sdk.integrations.pending import Pending
from outrider.sdk.integrations.updates import Updates, sent_at_s

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from outrider.sdk.integrations.meter import Meter

# The names of its refusals, whose codes it does not keep.
_CODES = {
    "RetryAfter": TOO_MANY_REQUESTS,
    "BadRequest": 400,
    "ChatMigrated": 400,
    "InvalidToken": 401,
    "Forbidden": 403,
    "EndPointNotFound": 404,
    "Conflict": 409,
}
_USUAL = ("message", "callback_query", "edited_message", "channel_post", "inline_query")


def attach(thing: Any, meter: Meter) -> None:
    """Measure an Application, or a Bot of its own."""
    if not hasattr(thing, "update_queue"):
        _attach_bot(thing, meter)
        return
    _attach_bot(thing.bot, meter)
    handlers = _Handlers(meter)
    for handler in [each for group in thing.handlers.values() for each in group]:
        handlers.measure(handler)
    if thing._job_queue is not None:  # noqa: SLF001 - the property warns when there is none
        _attach_jobs(thing._job_queue, handlers)  # noqa: SLF001
    _attach_application(thing, meter, handlers)


class _Handlers:
    """Puts a measuring callback in the place of each."""

    def __init__(self, meter: Meter) -> None:
        from telegram.ext import ApplicationHandlerStop

        self._updates = meter.part(Updates)
        self._stop = ApplicationHandlerStop
        self.measure = meter.guard(self._measure)

    def _measure(self, handler: Any) -> None:
        if hasattr(handler, "entry_points"):  # a conversation
            nested = [handler.entry_points, handler.fallbacks, *handler.states.values()]
            for each in [each for group in nested for each in group]:
                self._measure(each)
            return
        callback = getattr(handler, "callback", None)
        if callback is not None and not is_watched(callback):
            handler.callback = self._measured(callback)

    def _measured(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        updates, stop = self._updates, self._stop
        name = updates.handler(callback)

        def look(
            _args: Any, _kwargs: Any, start: float, error: BaseException | None, _result: Any
        ) -> None:
            updates.handled(name, start, None if isinstance(error, stop) else error)

        return functools.wraps(callback)(watched_async(callback, look))


def _attach_application(application: Any, meter: Meter, handlers: _Handlers) -> None:
    import weakref

    base: Any = type(application)
    updates, pending = meter.part(Updates), meter.part(Pending)
    arrived = _arrived(meter)

    async def process_update(self: Any, update: object) -> None:
        arrived(update)
        start = updates.begin()
        try:
            await base.process_update(self, update)
        finally:
            updates.end(start)

    async def process_error(
        self: Any, update: object, error: Exception, *args: Any, **kwargs: Any
    ) -> bool:
        updates.failed(error, in_update=update is not None)  # else a job's
        stopped: bool = await base.process_error(self, update, error, *args, **kwargs)
        return stopped

    def add_handler(self: Any, handler: Any, *args: Any, **kwargs: Any) -> None:
        handlers.measure(handler)
        base.add_handler(self, handler, *args, **kwargs)

    async def start(self: Any) -> None:
        await base.start(self)
        watch(self.bot)

    async def stop(self: Any) -> None:
        await pending.stop()
        await base.stop(self)

    def look(bot: Any) -> None:
        pending.watch(bot.id, lambda: _pending(bot))

    watch = meter.guard(look)
    updates.waiting.append(functools.partial(_queued, weakref.ref(application.update_queue)))
    subclass(
        application,
        process_update=process_update,
        process_error=process_error,
        add_handler=add_handler,
        start=start,
        stop=stop,
    )


def _attach_jobs(job_queue: Any, handlers: _Handlers) -> None:
    base: Any = type(job_queue)

    async def job_callback(queue: Any, job: Any) -> None:
        handlers.measure(job)
        await base.job_callback(queue, job)

    for job in job_queue.jobs():
        handlers.measure(job)
    subclass(job_queue, job_callback=staticmethod(job_callback))


def _attach_bot(bot: Any, meter: Meter) -> None:
    """Measure the API calls of a bot: it has a request object for updates, one for the rest."""
    for request in dict.fromkeys(bot._request):  # noqa: SLF001 - there is no other way to the first
        _attach_request(request, meter)


def _attach_request(request: Any, meter: Meter) -> None:
    api = meter.part(Api)
    if is_watched(type(request).post):
        return

    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        method = given(args, kwargs, 1, "url").rpartition("/")[2]
        api.ended(method, start, error)
        code = _CODES.get(type(error).__name__)
        if code is not None:
            api.refused(method, code, _wait_s(error))
        elif error is not None:
            api.unanswered(error)

    subclass(request, post=watched_async(type(request).post, meter.guard(look)))


def _wait_s(error: BaseException | None) -> float | None:
    # Its property warns those who did not choose a type yet; that is between it and the bot.
    wait = getattr(error, "_retry_after", None)
    return None if wait is None else float(wait.total_seconds())


def _arrived(meter: Meter) -> Callable[..., None]:
    from telegram import Update

    updates = meter.part(Updates)
    kinds = tuple(dict.fromkeys((*_USUAL, *(str(kind) for kind in Update.ALL_TYPES))))

    def look(update: Any) -> None:
        if not isinstance(update, Update):  # whatever a bot puts into its own queue
            updates.arrived(type(update).__name__)
            return
        for kind in kinds:
            content = getattr(update, kind)
            if content is not None:
                updates.arrived(kind, sent_at_s(content))
                return
        updates.arrived("unknown")

    return meter.guard(look)


def _queued(queue: weakref.ref[Any]) -> float | None:
    present = queue()
    return None if present is None else float(present.qsize())


async def _pending(bot: Any) -> float:
    """Ask without the rate limiter, which may wait and retry for long."""
    info = await bot._request[1].post(url=f"{bot.base_url}/getWebhookInfo")  # noqa: SLF001
    return float(info["pending_update_count"])
