"""discord.py: events, listeners, commands and API calls of a Client or Bot.

Listeners are seen where the client schedules them, prefix commands at ``invoke``; application
commands and views in ``discord_commands``. A gateway event that is dispatched twice
(``raw_message_edit``, then ``message_edit``) counts once, without ``raw_``. Age is that of the
snowflake, for messages and interactions.

discord.py sleeps out rate limits by itself, so that its calls include them: waits for a bucket are
seen at its door (``api.METHOD.wait``), refusals in the traces of its session.
"""

from __future__ import annotations

import contextvars
import functools
import math
import weakref
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
from discord.http import Ratelimit
from discord.webhook.async_ import async_context

from outrider.sdk.integrations import discord_commands
from outrider.sdk.integrations.api import Api
from outrider.sdk.integrations.http import seconds
from outrider.sdk.integrations.meter import derived, given, is_watched, now, watched_async
from outrider.sdk.integrations.updates import Updates

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.sdk.integrations.meter import Meter

# Shorter ones are not waits for a bucket, but the way through an open door.
SHORTEST_WAIT_S = 0.001
# Dispatched once more, from the same gateway event as their "raw_" twin.
_TWINS = frozenset(
    {"message_edit", "message_delete", "bulk_message_delete", "member_remove", "typing"}
    | {"reaction_add", "reaction_remove", "reaction_clear", "reaction_clear_emoji"}
    | {"thread_update", "thread_delete", "thread_member_remove"}
    | {"poll_vote_add", "poll_vote_remove", "raw_presence_update"}
)
# What the client tells of itself and its connection.
_OWN = frozenset(
    {"ready", "connect", "disconnect", "resumed", "error", "command", "command_error"}
    | {"command_completion", "app_command_completion"}
)
_OWN_KINDS = ("socket_", "shard_")
_AGED = frozenset({"message", "interaction"})
_FINE = range(200, 300)
_METHOD: contextvars.ContextVar[str] = contextvars.ContextVar("outrider_discord_method")
# Interaction answers go through one adapter for all clients; the session tells whose they are.
_SESSIONS: weakref.WeakKeyDictionary[Any, Api] = weakref.WeakKeyDictionary()


def attach(client: Any, meter: Meter) -> None:
    """Measure a client, logged in or not."""
    updates = meter.part(Updates)
    _attach_events(client, updates, meter)
    _attach_http(client.http, meter)
    if hasattr(client, "invoke"):
        _attach_commands(client, updates, meter)
    discord_commands.watch(client, updates, meter)
    reference = weakref.ref(client)
    meter.bot.add_source(lambda: _gauges(reference()))


def _gauges(client: Any) -> dict[str, float]:
    if client is None:
        return {}
    gauges = {"gateway.ready": float(client.is_ready())}
    latency_s = client.latency
    if math.isfinite(latency_s):
        gauges["gateway.latency_s"] = round(latency_s, 6)
    return gauges


def _attach_events(client: Any, updates: Updates, meter: Meter) -> None:
    dispatch, schedule = client.dispatch, client._schedule_event  # noqa: SLF001 - its only door

    def look(event: str, args: tuple[Any, ...]) -> None:
        if event == "command_error":
            _command_failed(updates, *args[:2])
        if event in _OWN or event in _TWINS or event.startswith(_OWN_KINDS):
            return
        sent = discord.utils.snowflake_time(args[0].id) if event in _AGED else None
        updates.arrived(event.removeprefix("raw_"), sent.timestamp() if sent else None)

    arrived = meter.guard(look)

    def measured_dispatch(event: str, /, *args: Any, **kwargs: Any) -> None:
        arrived(event, args)
        dispatch(event, *args, **kwargs)

    async def run(listener: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        start, name = updates.begin(), updates.handler(listener)
        try:
            await listener(*args, **kwargs)
        except BaseException as error:
            updates.handled(name, start, error)
            updates.failed(error)
            raise
        finally:
            updates.end(start)
        updates.handled(name, start)

    def measured_schedule(listener: Any, event_name: str, *args: Any, **kwargs: Any) -> Any:
        return schedule(functools.partial(run, listener), event_name, *args, **kwargs)

    client.dispatch = measured_dispatch
    client._schedule_event = measured_schedule  # noqa: SLF001
    client._connection.dispatch = measured_dispatch  # noqa: SLF001 - it keeps one of its own


def _attach_commands(bot: Any, updates: Updates, meter: Meter) -> None:
    def look(
        args: Any, kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        command = given(args, kwargs, 0, "ctx").command  # of a group, the one below it that ran
        if command is not None:
            updates.handled(updates.handler(command.callback), start, error)

    bot.invoke = watched_async(bot.invoke, meter.guard(look))


def _command_failed(updates: Updates, context: Any, error: Any) -> None:
    """Record what a prefix command raised: ``invoke`` keeps it, and tells by an event."""
    if context.command is not None:
        updates.broken(updates.handler(context.command.callback))
    updates.failed(discord_commands.original(error))


def _attach_http(http: Any, meter: Meter) -> None:
    api = meter.part(Api)
    http.request = _measured_request(http.request, lambda _session: api)
    adapter = async_context.get()
    if not is_watched(adapter.request):
        adapter.request = _measured_request(adapter.request, _api_of)  # type: ignore[method-assign]
    _attach_buckets(http, api)
    _attach_trace(http, api, meter)


def _api_of(session: Any) -> Api | None:
    return None if session is None else _SESSIONS.get(session)


def _measured_request(request: Any, api_of: Callable[[Any], Api | None]) -> Any:
    def look(method: str, start: float, session: Any, error: BaseException | None) -> None:
        api = api_of(session)
        if api is None:
            return
        api.ended(method, start, error)
        # Answers that refuse were seen in the trace, each attempt by itself.
        if error is not None and not isinstance(error, discord.HTTPException):
            api.unanswered(error)

    async def measured(route: Any, *args: Any, **kwargs: Any) -> Any:
        method, session = _method(route.method, route.path), kwargs.get("session")
        token, start = _METHOD.set(method), now()
        try:
            result = await request(route, *args, **kwargs)
        except BaseException as error:
            look(method, start, session, error)
            raise
        finally:
            _METHOD.reset(token)
        look(method, start, session, None)
        return result

    measured.outrider = True  # type: ignore[attr-defined]
    return measured


@functools.lru_cache(maxsize=512)
def _method(method: str, path: str) -> str:
    """Return a name for a route: its method and what is no parameter of its path.

    >>> _method("POST", "/channels/{channel_id}/messages")
    'POST_channels_messages'
    """
    parts = [part.lstrip("@") for part in path.split("/") if part and not part.startswith("{")]
    return "_".join([method, *parts])


def _attach_buckets(http: Any, api: Api) -> None:
    """Time what a call waits for its bucket: before it, or after it when it took the last token."""
    get_ratelimit = http.get_ratelimit

    def waited(start: float) -> None:
        wait_s, method = now() - start, _METHOD.get(None)
        if method is not None and wait_s >= SHORTEST_WAIT_S:
            api.waited(method, wait_s)

    async def acquire(self: Any) -> None:
        start, is_open = now(), self.remaining > 0 or self.is_expired()
        try:
            await Ratelimit.acquire(self)
        finally:
            if not is_open:
                waited(start)

    async def leave(self: Any, *error: Any) -> None:
        start, is_open = now(), self.reset_after <= 0
        try:
            await Ratelimit.__aexit__(self, *error)
        finally:
            if not is_open:
                waited(start)

    measured = derived(Ratelimit, acquire=acquire, __aexit__=leave)

    def get_measured(key: str) -> Any:
        found = get_ratelimit(key)
        if type(found) is Ratelimit:
            object.__setattr__(found, "__class__", measured)
        return found

    http.get_ratelimit = get_measured


def _attach_trace(http: Any, api: Api, meter: Meter) -> None:
    def end(told: Any) -> None:
        status, method = told.response.status, _METHOD.get(None)
        if method is not None and status not in _FINE:
            retry_after = told.response.headers.get("Retry-After")
            api.refused(method, status, seconds(retry_after, 0.0))

    look = meter.guard(end)

    async def on_start(session: Any, _context: Any, _told: Any) -> None:
        _SESSIONS.setdefault(session, api)

    async def on_end(_session: Any, _context: Any, told: Any) -> None:
        look(told)

    session = getattr(http, "_HTTPClient__session", None)
    ours = isinstance(session, aiohttp.ClientSession) or http.http_trace is None
    trace = aiohttp.TraceConfig() if ours else http.http_trace
    trace.on_request_start.append(on_start)
    trace.on_request_end.append(on_end)
    if isinstance(session, aiohttp.ClientSession):
        trace.freeze()
        session.trace_configs.append(trace)
    if http.http_trace is None:
        http.http_trace = trace  # for the session of its next login
