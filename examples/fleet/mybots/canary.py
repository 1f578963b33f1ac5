"""A quiz, on aiogram: inline keyboards, callback queries, scores in a database."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiogram import Bot, Dispatcher, F, Router
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    TelegramAPIError,
    TelegramBadRequest,
    TelegramNetworkError,
    TelegramRetryAfter,
)
from aiogram.filters import Command, ExceptionTypeFilter
from aiogram.types import (
    BotCommand,
    CallbackQuery,
    ErrorEvent,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
)

import outrider
from mybots import loaders, retry, tables, whereabouts

if TYPE_CHECKING:
    from aiogram.methods import Response, TelegramMethod
    from aiogram.methods.base import TelegramType

CAPITALS = (
    ("Austria", "Vienna"), ("Bolivia", "Sucre"), ("Canada", "Ottawa"), ("Denmark", "Copenhagen"),
    ("Estonia", "Tallinn"), ("Fiji", "Suva"), ("Ghana", "Accra"), ("Hungary", "Budapest"),
    ("Iceland", "Reykjavik"), ("Japan", "Tokyo"), ("Kenya", "Nairobi"), ("Latvia", "Riga"),
    ("Mongolia", "Ulaanbaatar"), ("Nepal", "Kathmandu"), ("Oman", "Muscat"), ("Peru", "Lima"),
    ("Qatar", "Doha"), ("Romania", "Bucharest"), ("Senegal", "Dakar"), ("Turkey", "Ankara"),
    ("Uruguay", "Montevideo"), ("Vietnam", "Hanoi"), ("Zambia", "Lusaka"), ("Chile", "Santiago"),
)  # fmt: skip
HELP = "I ask for capitals. /play, /me for your score, /scores for the best."
MOST_TRIES = 4
log = logging.getLogger("canary")
router = Router()


@dataclass(frozen=True, slots=True)
class Question:
    """Which country is asked for, and the capitals to choose from, as numbers in CAPITALS."""

    country: int
    choices: tuple[int, ...]

    def text(self) -> str:
        return f"What is the capital of {CAPITALS[self.country][0]}?"

    def keyboard(self) -> InlineKeyboardMarkup:
        buttons = [
            InlineKeyboardButton(
                text=CAPITALS[choice][1], callback_data=f"answer:{self.country}:{choice}"
            )
            for choice in self.choices
        ]
        return InlineKeyboardMarkup(inline_keyboard=[buttons[:2], buttons[2:]])


def question(draw: random.Random, *, after: int | None = None) -> Question:
    """Return a new question, not the same country twice in a row."""
    choices = draw.sample([each for each in range(len(CAPITALS)) if each != after], 4)
    return Question(choices[0], tuple(draw.sample(choices, 4)))


def record(user_id: int, name: str, *, right: bool) -> None:
    """Add an answer to a player's score. Blocks."""
    players = tables.players
    added = {"right_answers": int(right), "wrong_answers": int(not right)}
    statement = tables.upsert(
        players,
        {"user_id": user_id, "name": name, **added},
        {"name": name} | {column: players.c[column] + by for column, by in added.items()},
    )
    with tables.engine().begin() as connection:
        connection.execute(statement)


@router.message(Command("play"))
async def play(message: Message) -> None:
    asked = question(random.Random())
    await message.answer(asked.text(), reply_markup=asked.keyboard())


@router.message(Command("me"))
async def standing(message: Message) -> None:
    player = await loaders.profile(message.chat.id)
    if player is None:
        await message.answer("You have not answered yet: /play")
        return
    asked = player["right_answers"] + player["wrong_answers"]
    await message.answer(f"{player['name']}: {player['right_answers']} of {asked} right.")


@router.message(Command("scores"))
async def scores(message: Message) -> None:
    best = await asyncio.to_thread(loaders.leaderboard)
    lines = [
        f"{place}. {player['name']}: {player['right_answers']}"
        for place, player in enumerate(best, start=1)
    ]
    await message.answer("\n".join(lines) or "Nobody has played yet: /play")


@router.callback_query(F.data.startswith("answer:"))
async def answered(query: CallbackQuery, me: outrider.Bot) -> None:
    country, choice = (int(part) for part in str(query.data).split(":")[1:])
    right = country == choice
    me.count("right_answers" if right else "wrong_answers")
    await asyncio.to_thread(record, query.from_user.id, query.from_user.first_name, right=right)
    await loaders.profile.invalidate(query.from_user.id)
    await query.answer("Right!" if right else "No.")
    land, capital = CAPITALS[country]
    asked = question(random.Random(), after=country)
    verdict = f"{'Yes' if right else 'No'}: {capital} is the capital of {land}.\n{asked.text()}"
    if isinstance(query.message, Message):
        await query.message.edit_text(verdict, reply_markup=asked.keyboard())


@router.message()
async def anything_else(message: Message) -> None:
    await message.answer(HELP)


class HereAndNow(TelegramAPIServer):
    """The Bot API at its address of this moment: the local one moves when it restarts."""

    def api_url(self, token: str, method: str) -> str:
        return f"{whereabouts.botapi_url()}/bot{token}/{method}"


class Patient(BaseRequestMiddleware):
    """Waits as long as Telegram says when a chat is written to too fast."""

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        for _ in range(MOST_TRIES - 1):
            try:
                return await make_request(bot, method)
            except TelegramRetryAfter as error:
                await asyncio.sleep(error.retry_after)
        return await make_request(bot, method)


async def introduce(bot: Bot) -> None:
    """Say hello to the Bot API, however long it takes to appear."""
    for wait_s in retry.pauses():
        try:
            await bot.me()
            await bot.set_my_commands([BotCommand(command="play", description="a new question")])
        except TelegramAPIError as error:
            log.warning("the Bot API does not answer (%s); trying again", error)
            await asyncio.sleep(wait_s)
        else:
            return


async def main() -> None:
    """Play until SIGTERM, which aiogram handles."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiogram.event").setLevel(logging.WARNING)
    me = outrider.Bot("canary")
    await asyncio.to_thread(tables.engine)
    session = AiohttpSession(api=HereAndNow(base="", file=""))
    session.middleware(Patient())
    bot = me.instrument(Bot(whereabouts.token_of("canary"), session=session))
    dispatcher = me.instrument(Dispatcher(me=me))
    dispatcher.include_router(router)

    @dispatcher.startup()
    async def started() -> None:
        me.ready()  # on the loop, whose lag is measured from now on

    @dispatcher.error(ExceptionTypeFilter(TelegramBadRequest))
    async def too_late(_event: ErrorEvent) -> None:
        me.count("too_late")  # a button pressed twice: the message has moved on

    @dispatcher.error(ExceptionTypeFilter(TelegramNetworkError, TelegramRetryAfter))
    async def undelivered(event: ErrorEvent) -> None:
        me.count("errors")
        log.warning("an answer was not delivered: %s", event.exception)

    await introduce(bot)
    await dispatcher.start_polling(bot, polling_timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
