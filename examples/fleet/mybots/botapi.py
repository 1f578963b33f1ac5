"""A Bot API server on this machine, so that unmodified frameworks run without any network.

It speaks what the fleet's bots need of https://core.telegram.org/bots/api: the same shapes, long
polling, and refusals. It is itself a bot of the fleet: supervised, and announced in botapi.url.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import time
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

import outrider
from mybots import population, sites, whereabouts
from mybots.accounts import Account, ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PEAKS = {"canary": 4.0, "ledger": 3.0, "courier": 3.0}  # updates per second in the evening
# A machine that slept does not make up for the visitors it missed.
LONGEST_LAG_S = 60.0
log = logging.getLogger("botapi")
T = TypeVar("T")


class Arguments(dict[str, Any]):
    """The fields of one call, whichever way they came: strings in forms, JSON otherwise."""

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number.

        Raises:
            ApiError: it is missing, or is none.
        """
        value = self.get(name, default)
        if value is None or value == "":
            raise ApiError(400, f"Bad Request: {name} is empty")
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ApiError(400, f"Bad Request: {name} must be an Integer") from None

    def text(self, name: str) -> str:
        """Return a text; a missing one is empty."""
        return str(self.get(name, ""))

    def flag(self, name: str) -> bool:
        """Return a Boolean; a missing one is false."""
        return str(self.get(name, "")).lower() in {"true", "1"}

    def structure(self, name: str, kind: type[Any]) -> Any:
        """Return a list or an object, or None when it is missing.

        Raises:
            ApiError: it is not JSON, or of another kind.
        """
        value = self.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str):
            with contextlib.suppress(json.JSONDecodeError):
                value = json.loads(value)
        if not isinstance(value, kind):
            raise ApiError(400, f"Bad Request: can't parse {name} JSON object")
        return value


async def get_me(account: Account, _arguments: Arguments) -> Any:
    return account.me


async def get_updates(account: Account, arguments: Arguments) -> Any:
    return await account.updates(
        arguments.integer("offset", 0),
        limit=arguments.integer("limit", 100),
        timeout_s=arguments.integer("timeout", 0),
        allowed=arguments.structure("allowed_updates", list),
    )


async def send_message(account: Account, arguments: Arguments) -> Any:
    return account.send(
        arguments.integer("chat_id"),
        arguments.text("text"),
        arguments.structure("reply_markup", dict),
    )


async def edit_message_text(account: Account, arguments: Arguments) -> Any:
    return account.edit(
        arguments.integer("chat_id"),
        arguments.integer("message_id"),
        arguments.text("text"),
        arguments.structure("reply_markup", dict),
    )


async def answer_callback_query(account: Account, arguments: Arguments) -> Any:
    account.answer(arguments.text("callback_query_id"))
    return True


async def delete_webhook(account: Account, arguments: Arguments) -> Any:
    if arguments.flag("drop_pending_updates"):
        account.forget_pending()
    return True


async def get_webhook_info(account: Account, _arguments: Arguments) -> Any:
    return {
        "url": "",
        "has_custom_certificate": False,
        "pending_update_count": account.pending,
    }


async def set_my_commands(_account: Account, arguments: Arguments) -> Any:
    commands = arguments.structure("commands", list)
    if commands is None or not all(isinstance(each, dict) for each in commands):
        raise ApiError(400, "Bad Request: can't parse commands JSON object")
    return True


METHODS: dict[str, Callable[[Account, Arguments], Awaitable[Any]]] = {
    "getme": get_me,
    "getupdates": get_updates,
    "sendmessage": send_message,
    "editmessagetext": edit_message_text,
    "answercallbackquery": answer_callback_query,
    "deletewebhook": delete_webhook,
    "getwebhookinfo": get_webhook_info,
    "setmycommands": set_my_commands,
}


def application(accounts: list[Account], bot: outrider.Bot, *, seed: int) -> web.Application:
    """Return the server: the Bot API of these accounts, and the pages the fleet reads."""
    by_token = {whereabouts.token_of(account.name): account for account in accounts}

    async def call(request: web.Request) -> web.Response:
        bot.count("requests")
        try:
            account = _known(by_token, request.match_info["token"], ApiError(401, "Unauthorized"))
            name = request.match_info["method"].lower()
            method = _known(METHODS, name, ApiError(404, "Not Found"))
            result = await method(account, await _arguments(request))
        except ApiError as error:
            bot.count(f"refused.{error.code}")
            return _refusal(error)
        if method is get_updates:
            bot.count("updates", len(result))
        return web.json_response({"ok": True, "result": result})

    async def unknown(_request: web.Request) -> web.Response:
        return _refusal(ApiError(404, "Not Found"))

    async def let_go(_app: web.Application) -> None:
        for account in accounts:
            account.close()

    app = web.Application()
    app.on_shutdown.append(let_go)
    app.add_routes([web.route("*", "/bot{token}/{method}", call), *sites.routes(seed)])
    app.add_routes([web.route("*", "/{rest:.*}", unknown)])
    return app


async def visit(account: Account, *, clock: Callable[[], float] = time.time) -> None:
    """Let the account's crowd come, each at their time, for ever."""
    at_s, number = clock(), 0
    while True:
        draw = population.source(account.crowd, account.name, number)
        at_s = population.next_arrival(max(at_s, clock() - LONGEST_LAG_S), account.crowd, draw)
        await asyncio.sleep(max(0.0, at_s - clock()))
        account.arrive(draw)
        number += 1


async def main() -> None:
    """Serve on a free port of the loopback until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    bot = outrider.Bot("telegram")
    seed = int(whereabouts.number("FLEET_SEED", 1))
    day_s = whereabouts.number("FLEET_DAY_S", 86_400)
    share = whereabouts.number("FLEET_RATE", 1)
    accounts = [
        Account(name, population.Crowd(seed, peak_per_s=peak * share, day_s=day_s))
        for name, peak in PEAKS.items()
    ]
    bot.add_source(
        lambda: {
            "pending": sum(account.pending for account in accounts),
            "dropped_updates": sum(account.dropped for account in accounts),
        }
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    runner = web.AppRunner(
        application(accounts, bot, seed=seed), access_log=None, handler_cancellation=True
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=2.0)
    await site.start()
    visits = [asyncio.create_task(visit(account)) for account in accounts]
    host, port = runner.addresses[0][:2]
    whereabouts.announce(f"http://{host}:{port}")
    log.info("listening on http://%s:%s", host, port)
    bot.ready()
    await _until(stopping, visits)
    await runner.cleanup()


async def _until(stopping: asyncio.Event, visits: list[asyncio.Task[None]]) -> None:
    """Wait for the end; a crowd that fails is a fault of ours, and must be seen."""
    ended = asyncio.create_task(stopping.wait())
    waiting: set[asyncio.Task[Any]] = {ended, *visits}
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in visits:
        task.cancel()
    for task in done:
        task.result()


def _known(table: dict[str, T], key: str, otherwise: ApiError) -> T:
    if key not in table:
        raise otherwise
    return table[key]


async def _arguments(request: web.Request) -> Arguments:
    arguments = Arguments(request.query)
    if not request.can_read_body:
        return arguments
    if request.content_type == "application/json":
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ApiError(400, "Bad Request: can't parse request JSON object")
        arguments.update(body)
    else:
        arguments.update(await request.post())
    return arguments


def _refusal(error: ApiError) -> web.Response:
    body: dict[str, Any] = {
        "ok": False,
        "error_code": error.code,
        "description": error.description,
    }
    if error.retry_after is not None:
        body["parameters"] = {"retry_after": error.retry_after}
    return web.json_response(body, status=error.code)


if __name__ == "__main__":
    asyncio.run(main())
