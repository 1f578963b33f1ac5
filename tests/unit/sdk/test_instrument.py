from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

import outrider
from outrider.errors import BadArgument
from outrider.metrics import frame
from outrider.sdk import bot as bots
from outrider.sdk import instrument as instruments
from outrider.sdk.bot import Bot


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that has made no bot yet; frames go out when asked, not by themselves."""
    monkeypatch.setattr(bots, "_CURRENT", [])
    monkeypatch.setattr(bots, "FLUSH_S", 3600.0)


class Sent:
    """A transport that keeps what it was given last."""

    def __call__(self, message: bytes) -> bool:
        self.last = message
        return True


def answer(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="hello")


def client() -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def test_one_line_measures_for_the_bot_and_returns_what_it_was_given() -> None:
    sent = Sent()
    bot = Bot("canary", transport=sent)
    with client() as given:
        assert bot.instrument(given) is given
        given.get("http://example.org/a/7")
    bot.flush()

    said = frame.decode(sent.last)
    assert said.counters["http.example_org.status.2xx"] == 1
    assert "http.example_org.requests.get" in said.timings


def test_without_a_bot_in_hand_it_is_the_process_s() -> None:
    with client() as given, pytest.raises(BadArgument, match=r'bot = outrider.Bot\("canary"\)'):
        outrider.instrument(given)
    Bot("canary", transport=lambda _message: True)
    with client() as given:
        assert outrider.instrument(given) is given


def test_a_supervised_process_has_its_bot_as_soon_as_something_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary")
    with client() as given:
        outrider.instrument(given)
    current = bots.current()
    assert current is not None
    assert current is Bot("anything")


def test_again_changes_nothing() -> None:
    bot = Bot("canary", transport=lambda _message: True)
    with client() as given:
        send = bot.instrument(given).send
        assert bot.instrument(given).send is send


@pytest.mark.parametrize(
    ("thing", "shown"), [(3, "a builtins.int"), (httpx.Client, "the class httpx.Client")]
)
def test_what_is_not_known_is_refused_with_what_is(thing: Any, shown: str) -> None:
    bot = Bot("canary", transport=lambda _message: True)
    with pytest.raises(BadArgument, match=f"does not know {shown}; .*aiogram.Dispatcher, .*celery"):
        bot.instrument(thing)


def test_a_subclass_is_known_by_what_it_is_made_of() -> None:
    class Mine(httpx.Client): ...

    bot = Bot("canary", transport=lambda _message: True)
    with Mine(transport=httpx.MockTransport(answer)) as mine:
        assert bot.instrument(mine) is mine


def test_a_thing_that_is_not_as_we_know_it_is_left_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Client:  # of a version to come, without `send`
        __module__ = "httpx._future"

    sent = Sent()
    bot = Bot("canary", transport=sent)
    strange = Client()
    assert bot.instrument(strange) is strange
    bot.flush()
    assert frame.decode(sent.last).counters == {"instrument.errors": 1}
    assert "attach failed" in caplog.text


def test_every_known_class_exists_under_its_name() -> None:
    import aiogram.client.session.base
    import aiohttp
    import celery
    import discord
    import redis.asyncio
    import redis.cluster
    import sqlalchemy.ext.asyncio
    import telegram.ext

    real = {
        aiogram.Dispatcher, aiogram.Bot, aiogram.client.session.base.BaseSession,
        telegram.ext.Application, telegram.Bot, discord.Client, httpx.Client, httpx.AsyncClient,
        aiohttp.ClientSession, sqlalchemy.Engine, sqlalchemy.ext.asyncio.AsyncEngine, redis.Redis,
        redis.cluster.RedisCluster, celery.Celery,
    }  # fmt: skip
    named = {(kind.__module__.partition(".")[0], kind.__name__) for kind in real}
    assert named == set(instruments.KNOWN)
    for other in (redis.asyncio.Redis, redis.asyncio.RedisCluster):
        assert ("redis", other.__name__) in named


def test_nothing_is_imported_but_what_is_measured() -> None:
    code = """
import json, sys
import httpx, outrider
bot = outrider.Bot("canary")
bot.instrument(httpx.Client())
try: bot.instrument(3)
except outrider.errors.BadArgument: pass
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))
    frameworks = {"aiogram", "telegram", "discord", "aiohttp", "sqlalchemy", "redis", "celery"}
    assert set() == frameworks & set(loaded)
