"""``bot.instrument(thing)``: one line measures a framework, a client, an engine or an app.

What a thing is, is told by the names of its class and of the package that holds it, so that no
framework is imported here; one that is instrumented is loaded already. Each has a file of its own
in ``integrations/``, which is imported when the first thing of its kind is given.
"""

from __future__ import annotations

import importlib
import os
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from outrider.errors import BadArgument
from outrider.sdk.integrations import meter as meters

if TYPE_CHECKING:
    from outrider.sdk.bot import Bot

T = TypeVar("T")

# (package, class) -> module in integrations/
KNOWN = {
    ("aiogram", "Dispatcher"): "aiogram",
    ("aiogram", "Bot"): "aiogram",
    ("aiogram", "BaseSession"): "aiogram",
    ("telegram", "Application"): "python_telegram_bot",
    ("telegram", "Bot"): "python_telegram_bot",
    ("discord", "Client"): "discord",
    ("httpx", "Client"): "httpx",
    ("httpx", "AsyncClient"): "httpx",
    ("aiohttp", "ClientSession"): "aiohttp",
    ("sqlalchemy", "Engine"): "sqlalchemy",
    ("sqlalchemy", "AsyncEngine"): "sqlalchemy",
    ("redis", "Redis"): "redis",
    ("redis", "RedisCluster"): "redis",
    ("celery", "Celery"): "celery",
}
_DONE: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def instrument(thing: T, *, bot: Bot | None = None) -> T:
    """Measure ``thing`` for ``bot``, or for this process's bot, and return it.

    Doing it again changes nothing. If the thing is not as we know it (another version of its
    package), it is left as it was, the bot goes on, and ``instrument.errors`` counts.

    Raises:
        BadArgument: it is none of the things we know, or this process has no bot yet.
    """
    module = _module_of(thing)
    bot = bot or _current()
    if _DONE.get(id(thing)) is thing:
        return thing
    meter = meters.of(bot)
    attach = importlib.import_module(f"outrider.sdk.integrations.{module}").attach
    meter.guard(attach)(thing, meter)
    _DONE[id(thing)] = thing
    return thing


def _module_of(thing: object) -> str:
    for kind in type(thing).__mro__:
        module = KNOWN.get((kind.__module__.partition(".")[0], kind.__name__))
        if module:
            return module
    given = thing if isinstance(thing, type) else type(thing)
    known = ", ".join(f"{package}.{name}" for package, name in KNOWN)
    raise BadArgument(
        f"instrument() does not know {'the class ' if given is thing else 'a '}"
        f"{given.__module__}.{given.__qualname__}; give an object of one of: {known}."
    )


def _current() -> Bot:
    from outrider.sdk import bot

    current = bot.current()
    if current is not None:
        return current
    if os.environ.get("OUTRIDER_BOT"):
        return bot.Bot()
    raise BadArgument(
        "instrument() needs to know for which bot it measures; make it first:"
        ' bot = outrider.Bot("canary"), then bot.instrument(...).'
    )
