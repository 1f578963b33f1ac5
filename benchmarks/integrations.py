"""What one event costs more with ``bot.instrument`` than without, in CPU time of the process.

Each framework does its least: one update to one handler that does nothing, one request that is
answered at once, one statement to SQLite. Bare and measured take turns, so that what else the
machine does meets both.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import itertools
import statistics
import time
import warnings
from typing import TYPE_CHECKING, Any

import aiogram
import aiogram.types
import httpx
import redis
import sqlalchemy as sa
import telegram
import telegram.ext
from celery import Celery

import outrider
from benchmarks import harness

if TYPE_CHECKING:
    from collections.abc import Callable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it plays sound with a module that Python will drop
    import discord

EVENTS, ROUNDS = 2_000, 15
NUMBERS = itertools.count(1)
BOT = outrider.Bot("benchmark", transport=lambda _message: True)


def aiogram_update(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    bot = aiogram.Bot("1:a")
    dispatcher = instrument(aiogram.Dispatcher())

    async def nothing(_message: aiogram.types.Message) -> None: ...

    dispatcher.message.register(nothing)
    chat = aiogram.types.Chat(id=1, type="private")
    now = dt.datetime.now(tz=dt.UTC)
    message = aiogram.types.Message(message_id=1, date=now, chat=chat, text="hi")
    # No two alike: aiogram remembers what kind its last updates were of.
    updates = itertools.cycle(
        aiogram.types.Update(update_id=next(NUMBERS), message=message).as_(bot)
        for _ in range(EVENTS)
    )
    return _run(lambda: dispatcher.feed_update(bot, next(updates)))


def telegram_update(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    app = telegram.ext.ApplicationBuilder().token("1:a").updater(None).job_queue(None).build()

    async def nothing(_update: Any, _context: Any) -> None: ...

    app.add_handler(telegram.ext.MessageHandler(None, nothing))
    instrument(app)
    app._initialized = True  # noqa: SLF001 - there is no API to say hello to
    now = dt.datetime.now(tz=dt.UTC)
    message = telegram.Message(1, now, telegram.Chat(1, "private"), text="hi")
    update = telegram.Update(1, message=message)
    return _run(lambda: app.process_update(update))


def discord_event(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    client = instrument(discord.Client(intents=discord.Intents.none()))

    class Said:
        id = discord.utils.time_snowflake(discord.utils.utcnow())

    async def on_message(_message: Any) -> None: ...

    client.on_message = on_message

    async def events() -> None:
        client.loop = asyncio.get_running_loop()
        for _ in range(EVENTS):
            client.dispatch("message", Said)
            await asyncio.sleep(0)

    return lambda: LOOP.run_until_complete(events())


def httpx_request(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, text="hi"))
    client = instrument(httpx.Client(transport=transport))
    return _repeat(lambda: client.get("http://example.org/"))


def sqlalchemy_statement(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    connection = instrument(sa.create_engine("sqlite://")).connect()
    statement = sa.text("SELECT 1")
    return _repeat(lambda: connection.execute(statement))


def redis_command(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    class AtOnce(redis.Redis):
        def execute_command(self, *_args: Any, **_options: Any) -> Any:
            return b""

    client = instrument(AtOnce())
    return _repeat(lambda: client.get("a"))


def celery_send(instrument: Callable[[Any], Any]) -> Callable[[], None]:
    app = Celery("benchmark", broker="memory://", set_as_current=False)
    app.conf.update(task_ignore_result=True)
    instrument(app)
    return _repeat(lambda: app.send_task("jobs.nothing", ignore_result=True))


LOOP = asyncio.new_event_loop()


def _run(event: Callable[[], Any]) -> Callable[[], None]:
    async def events() -> None:
        for _ in range(EVENTS):
            await event()

    return lambda: LOOP.run_until_complete(events())


def _repeat(event: Callable[[], Any]) -> Callable[[], None]:
    def events() -> None:
        for _ in range(EVENTS):
            event()

    return events


def _us_per_event(events: Callable[[], None]) -> float:
    gc.collect()
    gc.freeze()  # what seven frameworks keep is no part of an event
    start = time.thread_time()
    events()
    return (time.thread_time() - start) / EVENTS * 1e6


def main() -> None:
    asyncio.set_event_loop(LOOP)
    options = harness.options(__doc__ or "")
    rounds = 3 if options.quick else ROUNDS
    figures: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    for case in (
        aiogram_update, telegram_update, discord_event, httpx_request, sqlalchemy_statement,
        redis_command, celery_send,
    ):  # fmt: skip
        bare, measured = case(lambda thing: thing), case(BOT.instrument)
        for warm in (bare, measured):
            warm()
        pairs = [(_us_per_event(bare), _us_per_event(measured)) for _ in range(rounds)]
        figures[f"{case.__name__}_us"] = harness.spread(
            [with_ - alone for alone, with_ in pairs], 2
        )
        peers[f"{case.__name__}_bare_us"] = round(statistics.median(bare for bare, _ in pairs), 2)
    LOOP.close()
    harness.finish("integrations", figures, peers)


if __name__ == "__main__":
    main()
