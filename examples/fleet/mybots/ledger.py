"""An expense tracker, on python-telegram-bot: write "12.50 lunch", ask for /month."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from telegram import BotCommand, Message, Update
from telegram.error import NetworkError, RetryAfter
from telegram.ext import (
    Application,
    ApplicationBuilder,
    BaseRateLimiter,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)
from telegram.request import HTTPXRequest

import outrider
from mybots import loaders, tables, whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HELP = 'Write what you spent, such as "12.50 lunch". /month adds it up, /undo forgets the last.'
AMOUNT = re.compile(r"(?<![\w.,])(\d{1,6})(?:[.,](\d{1,2}))?(?![\w.,])")
CATEGORIES = {
    "food": ("coffee", "lunch", "tea", "bread"),
    "home": ("rent", "a lamp"),
    "travel": ("bus", "train"),
    "fun": ("books", "cinema"),
}
MOST_KEPT = 500  # expenses of one person; the oldest go
MOST_TRIES = 4

log = logging.getLogger("ledger")


@dataclass(frozen=True, slots=True)
class Expense:
    """What was spent, and on what."""

    cents: int
    note: str
    category: str


def parse(text: str) -> Expense | None:
    """Return the expense in a message, or None.

    >>> parse("12.50 lunch")
    Expense(cents=1250, note='lunch', category='food')
    >>> parse("bus 3,5 €")
    Expense(cents=350, note='bus', category='travel')
    >>> parse("how much was it again")
    """
    found = AMOUNT.search(text)
    if not found:
        return None
    cents = int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))
    rest = (text[: found.start()] + text[found.end() :]).replace("€", "")
    note = " ".join(rest.split())[:200]
    if not cents or not note:
        return None
    category = next((name for name, words in CATEGORIES.items() if note.lower() in words), "other")
    return Expense(cents, note, category)


def summarise(month: str, spent: dict[str, int]) -> str:
    """Return a month's spending as a text.

    >>> summarise("2026-11", {"food": 1250, "fun": 900})
    '2026-11: 21.50\\nfood 12.50\\nfun 9.00'
    """
    if not spent:
        return f"Nothing spent in {month}."
    lines = [f"{category} {cents / 100:.2f}" for category, cents in spent.items()]
    return "\n".join([f"{month}: {sum(spent.values()) / 100:.2f}", *lines])


def save(user_id: int, expense: Expense, month: str) -> None:
    """Store an expense, and forget the person's oldest ones. Blocks."""
    table = tables.expenses
    row = {
        "user_id": user_id,
        "cents": expense.cents,
        "category": expense.category,
        "note": expense.note,
        "month": month,
    }
    mine = sa.select(table.c.id).where(table.c.user_id == user_id)
    oldest = mine.order_by(table.c.id.desc()).limit(1).offset(MOST_KEPT).scalar_subquery()
    with tables.engine().begin() as connection:
        connection.execute(sa.insert(table).values(row))
        connection.execute(sa.delete(table).where(table.c.user_id == user_id, table.c.id <= oldest))
    loaders.month_summary.invalidate(user_id, month)


def forget_last(user_id: int) -> bool:
    """Delete a person's latest expense; tell whether there was one. Blocks."""
    table = tables.expenses
    latest = sa.select(sa.func.max(table.c.id)).where(table.c.user_id == user_id).scalar_subquery()
    with tables.engine().begin() as connection:
        gone = connection.execute(sa.delete(table).where(table.c.id == latest)).rowcount > 0
    loaders.month_summary.invalidate(user_id, this_month())
    return gone


def this_month() -> str:
    """Return the month that expenses written now belong to, such as ``2026-11``."""
    return f"{dt.datetime.now(tz=dt.UTC):%Y-%m}"


async def spend(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    message = _message(update)
    expense = parse(message.text or "")
    if expense is None:
        await message.reply_text(HELP)
        return
    await asyncio.to_thread(save, message.chat_id, expense, this_month())
    await message.reply_text(f"{expense.cents / 100:.2f} for {expense.note} ({expense.category}).")


async def month(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    message, wanted = _message(update), this_month()
    spent = await asyncio.to_thread(loaders.month_summary, message.chat_id, wanted)
    await message.reply_text(summarise(wanted, spent))


async def undo(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    message = _message(update)
    gone = await asyncio.to_thread(forget_last, message.chat_id)
    await message.reply_text("Forgotten." if gone else "There is nothing to forget.")


async def start(update: Update, _context: ContextTypes.DEFAULT_TYPE) -> None:
    await _message(update).reply_text(HELP)


class HereAndNow(HTTPXRequest):
    """Sends every call to the Bot API's address of this moment: it moves when it restarts."""

    async def do_request(self, url: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        present = url.replace(whereabouts.NOBODY, whereabouts.botapi_url(), 1)
        return await super().do_request(present, *args, **kwargs)


class Patient(BaseRateLimiter[None]):
    """Waits as long as Telegram says when a chat is written to too fast."""

    async def initialize(self) -> None:
        """Need nothing."""

    async def shutdown(self) -> None:
        """Hold nothing."""

    async def process_request(  # noqa: PLR0917 - its caller's signature
        self,
        callback: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: None,
    ) -> Any:
        del endpoint, data, rate_limit_args
        for _ in range(MOST_TRIES - 1):
            try:
                return await callback(*args, **kwargs)
            except RetryAfter as error:
                wait = error.retry_after
                seconds = wait.total_seconds() if isinstance(wait, dt.timedelta) else wait
                await asyncio.sleep(seconds)
        return await callback(*args, **kwargs)


def application(me: outrider.Bot) -> Application[Any, Any, Any, Any, Any, Any]:
    """Return the bot, ready to run."""

    async def started(app: Application[Any, Any, Any, Any, Any, Any]) -> None:
        await asyncio.to_thread(tables.engine)
        await app.bot.set_my_commands([BotCommand("month", "what I spent this month")])
        me.ready()

    async def failed(_update: object, context: ContextTypes.DEFAULT_TYPE) -> None:
        me.count("errors")
        if isinstance(context.error, NetworkError | RetryAfter):
            log.warning("an answer was not delivered: %s", context.error)
        else:
            log.error("an update failed", exc_info=context.error)

    builder = ApplicationBuilder().token(whereabouts.token_of("ledger"))
    builder = builder.base_url(f"{whereabouts.NOBODY}/bot").rate_limiter(Patient())
    builder = builder.request(HereAndNow(connection_pool_size=16)).get_updates_request(HereAndNow())
    app = me.instrument(builder.concurrent_updates(8).post_init(started).build())
    app.add_handler(CommandHandler("month", month))
    app.add_handler(CommandHandler("undo", undo))
    app.add_handler(CommandHandler("start", start))
    app.add_handler(MessageHandler(filters.TEXT, spend))
    app.add_error_handler(failed)
    return app


def main() -> None:
    """Keep accounts until SIGTERM, which python-telegram-bot handles."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every poll, with the token
    application(outrider.Bot("ledger")).run_polling(
        bootstrap_retries=-1, allowed_updates=[Update.MESSAGE]
    )


def _message(update: Update) -> Message:
    """Return the message that a handler of messages was called for."""
    if update.message is None:
        raise TypeError(f"update {update.update_id} holds no message; only messages are asked for.")
    return update.message


if __name__ == "__main__":
    main()
