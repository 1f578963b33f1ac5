"""aiogram and python-telegram-bot, each against the example's own Bot API server."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import telegram
from aiogram import Bot, Dispatcher, Router
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.dispatcher.event.bases import SkipHandler
from aiogram.exceptions import TelegramBadRequest, TelegramRetryAfter
from aiogram.filters import Command
from aiogram.handlers import MessageHandler as ClassHandler
from aiohttp import web
from telegram.error import BadRequest, RetryAfter
from telegram.ext import (
    Application,
    ApplicationBuilder,
    ApplicationHandlerStop,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    MessageHandler,
    filters,
)

from tests.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiogram.types import ErrorEvent, Message

FLEET = Path(__file__).resolve().parents[2] / "examples" / "fleet"


class BotApi:
    """The server, its one account, and one person who writes to it."""

    def __init__(self, name: str) -> None:
        load = functools.partial(importlib.import_module)
        population = load("mybots.population")
        self.account = load("mybots.accounts").Account(name, population.Crowd(people=3))
        self.token = load("mybots.whereabouts").token_of(name)
        self.chat = next(iter(self.account._chats.values()))
        self.person = self.chat.person.id
        self.url = ""

    def says(self, text: str) -> None:
        self.account._says(self.chat, text)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[BotApi]:
        application = importlib.import_module("mybots.botapi").application
        runner = web.AppRunner(
            application([self.account], Recorder(), seed=1), access_log=None, shutdown_timeout=1.0
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> BotApi:
    monkeypatch.syspath_prepend(str(FLEET))
    return BotApi("canary")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> BotApi:
    monkeypatch.syspath_prepend(str(FLEET))
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    return BotApi("ledger")


def aiogram_bot(api: BotApi) -> Bot:
    server = TelegramAPIServer(base=f"{api.url}/bot{{token}}/{{method}}", file="")
    return Bot(api.token, session=AiohttpSession(api=server))


@asynccontextmanager
async def polling(dispatcher: Dispatcher, bot: Bot) -> AsyncIterator[None]:
    task = asyncio.create_task(
        dispatcher.start_polling(bot, polling_timeout=5, handle_signals=False)
    )
    try:
        yield
    finally:
        await dispatcher.stop_polling()
        await task


def test_a_dispatcher_tells_of_updates_handlers_and_calls(
    recorder: Recorder, canary: BotApi
) -> None:
    router, nested = Router(), Router()

    @nested.message(Command("play"))
    async def play(message: Message) -> None:
        await message.answer("What is the capital of Fiji?")

    @nested.message(Command("twice"))
    async def skipped(_message: Message) -> None:
        raise SkipHandler

    @nested.message(Command("class"))
    class Scores(ClassHandler):
        async def handle(self) -> None:
            await self.bot.get_me()

    async def broken(message: Message, why: str) -> None:
        raise ValueError(why)

    async def play_it() -> None:
        dispatcher = recorder.instrument(Dispatcher())
        nested.message.register(functools.partial(broken, why="because"), Command("break"))
        dispatcher.include_router(router)
        router.include_router(nested)  # after: handlers of nested routers are seen as well

        @dispatcher.error()
        async def too_bad(event: ErrorEvent) -> None:
            assert str(event.exception) == "because"

        nested.message.register(lambda message: message.answer("what?"))
        async with canary.serving(), polling(dispatcher, aiogram_bot(canary)):
            for text in ("/play", "/break", "/class", "/twice"):
                canary.says(text)
            await recorder.until(lambda: recorder.counters["updates"] == 4)
            await recorder.until(lambda: not recorder.gauges["updates.in_flight"])
            await recorder.until(lambda: recorder.timed("api.getWebhookInfo"))

    asyncio.run(play_it())

    assert recorder.counted("updates") == {"updates": 4, "updates.message": 4}
    handlers = recorder.timed("handler")
    lambdas = [name for name in handlers if name.startswith("handler.lambda_")]
    assert handlers == {
        "handler.play": 1, "handler.broken": 1, "handler.Scores": 1, "handler.skipped": 1,
        "handler.too_bad": 1, lambdas[0]: 1,
    }  # fmt: skip
    assert recorder.counted("handler") == {"handler.broken.errors": 1}
    assert recorder.timed("handle_update") == {"handle_update": 4}
    assert recorder.counted("handle_update") == {"handle_update.errors": 1}
    assert recorder.counted("errors") == {"errors.ValueError": 1}
    assert recorder.timed("updates") == {"updates.age": 4}
    assert all(0 <= age < 5 for age in recorder.timings["updates.age"])
    calls = recorder.timed("api")
    assert calls.pop("api.getUpdates") >= 1
    assert calls.pop("api.getMe") >= 2  # aiogram's own, and the class's
    assert calls == {"api.sendMessage": 2, "api.getWebhookInfo": 1}
    assert recorder.counted("instrument") == {}


def test_what_waits_at_the_bot_api_is_the_backlog_while_aiogram_runs(
    recorder: Recorder, canary: BotApi
) -> None:
    async def wait() -> None:
        dispatcher = recorder.instrument(Dispatcher())
        for text in ("one", "two", "three"):
            canary.says(text)
        async with canary.serving():
            bot = aiogram_bot(canary)
            await dispatcher.emit_startup(bot=bot, bots=[bot])
            await recorder.until(lambda: recorder.gauges.get("updates.backlog") == 3)
            await dispatcher.emit_shutdown(bot=bot, bots=[bot])
            assert "updates.backlog" not in recorder.gauges
            await bot.session.close()

    asyncio.run(wait())


def test_aiograms_refusals_are_told_by_method_code_and_wait(
    recorder: Recorder, canary: BotApi
) -> None:
    async def hurry() -> None:
        async with canary.serving():
            bot = recorder.instrument(aiogram_bot(canary))
            recorder.instrument(bot)
            recorder.instrument(bot.session)
            for _ in range(4):
                await bot.send_message(canary.person, "hi")
            with pytest.raises(TelegramRetryAfter, match="retry after 1"):
                await bot.send_message(canary.person, "hi")
            with pytest.raises(TelegramBadRequest, match="chat not found"):
                await bot.send_message(1, "hi")
            await bot.session.close()

    asyncio.run(hurry())

    assert recorder.timed("api") == {"api.sendMessage": 6, "api.sendMessage.wait": 1}
    assert recorder.timings["api.sendMessage.wait"] == [1]
    assert recorder.counters == {
        "api.sendMessage.errors": 2, "api.sendMessage.limited": 1,
        "api.status.429": 1, "api.status.400": 1,
    }  # fmt: skip


def test_a_bot_api_that_is_away_is_an_error_by_type(recorder: Recorder, canary: BotApi) -> None:
    async def call() -> None:
        canary.url = "http://127.0.0.1:9"
        bot = recorder.instrument(aiogram_bot(canary))
        with pytest.raises(Exception, match="Cannot connect"):
            await bot.get_me()
        call = asyncio.create_task(bot.get_me())
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await bot.session.close()

    asyncio.run(call())

    assert recorder.counters == {
        "api.getMe.errors": 1, "api.errors.TelegramNetworkError": 1, "api.getMe.cancelled": 1,
    }  # fmt: skip


def test_an_update_of_an_unknown_kind_goes_where_it_went(
    recorder: Recorder, canary: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    async def feed() -> None:
        dispatcher, bot = recorder.instrument(Dispatcher()), aiogram_bot(canary)
        with pytest.warns(RuntimeWarning, match="unknown update type"):
            await dispatcher.feed_raw_update(bot, {"update_id": 1, "brand_new": {"a": 1}})

    asyncio.run(feed())

    assert recorder.counters == {"updates": 1, "updates.unknown": 1}


def test_the_fault_of_an_integration_is_counted_and_the_bot_goes_on(
    recorder: Recorder, canary: BotApi, caplog: pytest.LogCaptureFixture
) -> None:
    handled = []

    async def feed() -> None:
        dispatcher, bot = recorder.instrument(Dispatcher()), aiogram_bot(canary)

        def broken(name: str, by: float = 1) -> None:
            if name == "updates":
                raise RuntimeError("ours")
            Recorder.count(recorder, name, by)

        meter = importlib.import_module("outrider.sdk.integrations.meter")
        meter.of(recorder).count = broken

        @dispatcher.message()
        async def hello(message: Message) -> None:
            handled.append(message.text)

        update = {"message": canary.account._message(canary.chat, canary.account.me, "hi")}
        for number in (1, 2):
            await dispatcher.feed_raw_update(bot, {"update_id": number} | update)

    with caplog.at_level(logging.ERROR, "outrider.instrument"):
        asyncio.run(feed())

    assert handled == ["hi", "hi"]
    assert recorder.counters == {"instrument.errors": 2}
    assert len(caplog.records) == 1  # the first time only
    assert recorder.timed("handler") == {"handler.hello": 2}


Context = ContextTypes.DEFAULT_TYPE
App = Application[Any, Any, Any, Any, Any, Any]


def ptb_application(api: BotApi) -> App:
    return ApplicationBuilder().token(api.token).base_url(f"{api.url}/bot").build()


@asynccontextmanager
async def running(app: App) -> AsyncIterator[None]:
    async with app:
        assert app.updater is not None
        await app.start()
        await app.updater.start_polling(poll_interval=0, timeout=5)
        try:
            yield
        finally:
            await app.updater.stop()
            await app.stop()


async def hello(update: telegram.Update, _context: Context) -> int:
    assert update.message
    await update.message.reply_text("hello")
    return 0


async def broken(_update: telegram.Update, _context: Context) -> None:
    raise LookupError("because")


async def named(_update: telegram.Update, _context: Context) -> int:
    return ConversationHandler.END


async def stops(_update: telegram.Update, _context: Context) -> None:
    raise ApplicationHandlerStop


async def tick(context: Context) -> None:
    context.application.bot_data["ticks"] = True


def test_an_application_tells_of_updates_handlers_jobs_and_calls(
    recorder: Recorder, ledger: BotApi
) -> None:
    caught: list[str] = []

    async def on_error(_update: object, context: Context) -> None:
        caught.append(str(context.error))

    async def play() -> None:
        async with ledger.serving():
            app = ptb_application(ledger)
            app.add_handler(CommandHandler("hello", hello))
            conversation = ConversationHandler(
                [CommandHandler("name", hello)], {0: [MessageHandler(filters.TEXT, named)]}, []
            )
            early = app.job_queue
            assert early is not None
            early.run_once(tick, 0.0, name="early")
            assert recorder.instrument(app) is app
            recorder.instrument(app)
            assert isinstance(app, Application)
            app.add_handler(conversation)  # after
            app.add_handlers({1: [CommandHandler("break", broken)]})
            app.add_handler(CommandHandler("stop", functools.partial(stops)), group=-1)
            app.add_error_handler(on_error)
            early.run_once(lambda context: broken(None, context), 0.0)  # type: ignore[arg-type]
            async with running(app):
                for text in ("/hello", "/name", "Ada", "/break", "/stop"):
                    ledger.says(text)
                await recorder.until(lambda: recorder.counters["updates"] == 5)
                await recorder.until(lambda: not recorder.gauges["updates.in_flight"])
                await recorder.until(lambda: len(caught) == 2)
                await recorder.until(lambda: app.bot_data.get("ticks"))
                await recorder.until(lambda: recorder.timed("api.getWebhookInfo"))

    asyncio.run(play())

    assert recorder.counted("updates") == {"updates": 5, "updates.message": 5}
    handlers = recorder.timed("handler")
    lambdas = [name for name in handlers if name.startswith("handler.lambda_")]
    assert handlers == {
        "handler.hello": 2, "handler.named": 1, "handler.broken": 1, "handler.stops": 1,
        "handler.tick": 1, lambdas[0]: 1,
    }  # fmt: skip
    assert recorder.counted("handler") == {"handler.broken.errors": 1, f"{lambdas[0]}.errors": 1}
    assert recorder.counted("errors") == {"errors.LookupError": 2}
    assert recorder.timed("handle_update") == {"handle_update": 5}
    assert recorder.counted("handle_update") == {"handle_update.errors": 1}  # not the job's
    assert caught == ["because", "because"]
    assert recorder.timed("updates") == {"updates.age": 5}
    calls = recorder.timed("api")
    assert calls.pop("api.getUpdates") >= 1
    assert calls == {
        "api.getMe": 1, "api.deleteWebhook": 1, "api.sendMessage": 2, "api.getWebhookInfo": 1,
    }  # fmt: skip
    assert recorder.counted("instrument") == {}


def test_the_queue_of_an_application_is_its_backlog(recorder: Recorder, ledger: BotApi) -> None:
    async def queue() -> None:
        app = recorder.instrument(ptb_application(ledger))
        for number in range(3):
            app.update_queue.put_nowait(telegram.Update(number))
        assert recorder.gauges["updates.backlog"] == 3

    asyncio.run(queue())


@pytest.mark.parametrize("chosen", ["true", "false"])
def test_refusals_of_a_telegram_bot_are_told_by_method_code_and_wait(
    recorder: Recorder, ledger: BotApi, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hurry() -> None:
        async with ledger.serving():
            bot = recorder.instrument(telegram.Bot(ledger.token, base_url=f"{ledger.url}/bot"))
            async with bot:
                for _ in range(4):
                    await bot.send_message(ledger.person, "hi")
                # Its own warning, that the wait will be of another type, is not for us to cause.
                monkeypatch.setenv("PTB_TIMEDELTA", "true")
                with pytest.raises(RetryAfter):
                    await bot.send_message(ledger.person, "hi")
                with pytest.raises(BadRequest, match="Chat not found"):
                    await bot.send_message(1, "hi")

    asyncio.run(hurry())

    assert recorder.timed("api") == {
        "api.getMe": 1, "api.sendMessage": 6, "api.sendMessage.wait": 1,
    }  # fmt: skip
    assert recorder.timings["api.sendMessage.wait"] == [1]
    assert recorder.counters == {
        "api.sendMessage.errors": 2, "api.sendMessage.limited": 1,
        "api.status.429": 1, "api.status.400": 1,
    }  # fmt: skip


def test_an_old_update_has_its_age(recorder: Recorder, ledger: BotApi) -> None:
    async def process() -> None:
        app = recorder.instrument(ptb_application(ledger))
        message = ledger.account._message(ledger.chat, ledger.account.me, "hi")
        message["date"] = int(time.time()) - 100
        update = telegram.Update.de_json({"update_id": 1, "message": message}, app.bot)
        app._initialized = True
        await app.process_update(update)
        await app.process_update("something of the bot's own")

    asyncio.run(process())

    assert [round(age, -1) for age in recorder.timings["updates.age"]] == [100]
    assert recorder.counted("updates") == {
        "updates": 2, "updates.message": 1, "updates.str": 1,
    }  # fmt: skip
