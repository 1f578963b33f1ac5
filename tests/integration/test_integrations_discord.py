"""discord.py: a real client, logged in to a gateway and an HTTP API on this machine."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
import pytest
import yarl
from discord import ui
from discord.ext import commands

from tests.recorder import Recorder
from tests.servers.discord import (
    CHANNEL,
    GUILD,
    Discord,
    answer,
    interaction,
    last_of_bucket,
    message,
    refusal,
    user,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("discord").setLevel(logging.CRITICAL)


@asynccontextmanager
async def connected(
    client: discord.Client, server: Discord, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    from discord.gateway import DiscordWebSocket

    async with server.serving():
        monkeypatch.setattr(discord.http.Route, "BASE", server.url)
        gateway = yarl.URL(f"{server.url}/gateway")
        monkeypatch.setattr(DiscordWebSocket, "DEFAULT_GATEWAY", gateway)
        async with client:
            running = asyncio.create_task(client.start("token"))
            try:
                await asyncio.sleep(0)
                while not client.is_ready():
                    assert not running.done(), running
                    await asyncio.sleep(0.005)
                yield
            finally:
                await client.close()
                await asyncio.gather(running, return_exceptions=True)


def client() -> discord.Client:
    intents = discord.Intents.default()
    intents.message_content = True
    return discord.Client(intents=intents, guild_ready_timeout=0.05)


def bot() -> commands.Bot:
    intents = discord.Intents.default()
    intents.message_content = True
    return commands.Bot("!", intents=intents, guild_ready_timeout=0.05, help_command=None)


def test_a_client_tells_of_events_listeners_and_the_gateway(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        server, plain = Discord(), client()
        asked: list[str] = []

        @plain.event
        async def on_message(said: discord.Message) -> None:
            asked.append(said.content)
            if said.content == "break":
                raise LookupError

        @plain.event
        async def on_error(event: str, *_args: Any) -> None:
            asked.append(f"{event} failed")

        assert recorder.instrument(plain) is plain
        assert recorder.gauges["gateway.ready"] == 0
        async with connected(plain, server, monkeypatch):
            recorder.instrument(plain)
            before = recorder.counters["updates"]
            await server.tell("MESSAGE_CREATE", message("hello", age_s=100))
            await server.tell("MESSAGE_CREATE", message("break"))
            known = await plain.wait_for("message")
            await server.tell("MESSAGE_UPDATE", message("again") | {"id": str(known.id)})
            await server.tell("TYPING_START", {
                "channel_id": CHANNEL, "user_id": "4000", "timestamp": 0, "guild_id": GUILD,
            })  # fmt: skip
            await recorder.until(lambda: recorder.counters["updates.typing"])
            await recorder.until(lambda: "on_message failed" in asked)
            await recorder.until(lambda: recorder.counters["errors.LookupError"])
            await recorder.until(lambda: "gateway.latency_s" in recorder.gauges)
            assert recorder.gauges["gateway.ready"] == 1
            assert recorder.gauges["updates.in_flight"] == 0
            assert recorder.counters["updates"] - before == 4
        assert asked == ["hello", "break", "on_message failed"]

    asyncio.run(play())

    kinds = recorder.counted("updates.")
    assert kinds.pop("updates.guild_available") == 1
    assert kinds == {"updates.message": 2, "updates.message_edit": 1, "updates.typing": 1}
    assert recorder.timed("handler") == {"handler.on_message": 2}
    assert recorder.counted("handler") == {"handler.on_message.errors": 1}
    assert recorder.counted("errors") == {"errors.LookupError": 1}
    assert sorted(round(age, -1) for age in recorder.timings["updates.age"]) == [0, 100]
    assert recorder.timed("api") == {
        "api.GET_users_me": 1, "api.GET_oauth2_applications_me": 1,
    }  # fmt: skip
    assert recorder.counted("instrument") == {}


class Play(ui.View):
    @ui.button(label="Yes", custom_id="yes")
    async def yes(self, interaction: discord.Interaction, _button: Any) -> None:
        await interaction.response.send_message("yes")

    @ui.button(label="No", custom_id="no")
    async def no(self, _interaction: discord.Interaction, _button: Any) -> None:
        raise ArithmeticError


class Name(ui.Modal, title="Who"):
    name: ui.TextInput[Any] = ui.TextInput(label="name", custom_id="name")

    async def on_submit(self, _interaction: discord.Interaction) -> None:
        raise OSError


class Home(commands.Cog):
    @commands.Cog.listener()
    async def on_message(self, said: discord.Message) -> None:
        pass

    @commands.command()
    async def greet(self, context: commands.Context[Any]) -> None:
        await context.send("hello")


def test_a_bot_tells_of_commands_views_and_modals(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        server, mine = Discord(), bot()

        @mine.group(invoke_without_command=True)
        async def score(context: commands.Context[Any]) -> None: ...

        @score.command()
        async def best(context: commands.Context[Any], number: int) -> None:
            raise KeyError(number)

        @mine.tree.command(description="play")
        async def play_it(interaction: discord.Interaction) -> None:
            await interaction.response.send_message("hi")

        @mine.tree.command(description="break")
        async def fall(interaction: discord.Interaction) -> None:
            raise ZeroDivisionError

        @mine.tree.context_menu(name="look_up")
        async def look_up(interaction: discord.Interaction, person: discord.User) -> None:
            await interaction.response.defer()

        await mine.add_cog(Home())
        recorder.instrument(mine)
        async with connected(mine, server, monkeypatch):
            mine.add_view(Play(timeout=None))
            for text in ("!greet", "!score best 3", "!score best x", "!nothing"):
                await server.tell("MESSAGE_CREATE", message(text))
            for name in ("play_it", "fall"):
                data = {"id": "1", "name": name, "type": 1}
                await server.tell("INTERACTION_CREATE", interaction(2, data))
            resolved = {"users": {"4000": user()}, "members": {}}
            menu = {"id": "1", "name": "look_up", "type": 2, "target_id": "4000"}
            await server.tell("INTERACTION_CREATE", interaction(2, menu | {"resolved": resolved}))
            for button in ("yes", "no"):
                data = {"custom_id": button, "component_type": 2}
                pressed = interaction(3, data, message=message("Well?"))
                await server.tell("INTERACTION_CREATE", pressed)
            modal = Name(custom_id="who")
            mine._connection._view_store.add_view(modal)
            field = {"type": 4, "custom_id": "name", "value": "Ada"}
            rows = [{"type": 1, "components": [field]}]
            submitted = {"custom_id": "who", "components": rows}
            await server.tell("INTERACTION_CREATE", interaction(5, submitted))
            await recorder.until(lambda: recorder.timed("handler") == expected)
            await recorder.until(lambda: recorder.timings["api.POST_interactions_callback"][2:])

    expected = {
        "handler.BotBase.on_message": 4, "handler.BotBase.on_command_error": 3,
        "handler.Home.on_message": 4, "handler.Home.greet": 1, "handler.best": 2,
        "handler.play_it": 1, "handler.fall": 1, "handler.look_up": 1,
        "handler.Play.yes": 1, "handler.Play.no": 1, "handler.Name.on_submit": 1,
    }  # fmt: skip
    asyncio.run(play())

    assert recorder.counters["updates.interaction"] == 6
    assert recorder.gauges["updates.in_flight"] == 0
    assert recorder.counted("handler") == {
        "handler.best.errors": 2, "handler.fall.errors": 1, "handler.Play.no.errors": 1,
        "handler.Name.on_submit.errors": 1,
    }  # fmt: skip
    assert recorder.counted("errors") == {
        "errors.KeyError": 1, "errors.BadArgument": 1, "errors.CommandNotFound": 1,
        "errors.ZeroDivisionError": 1, "errors.ArithmeticError": 1, "errors.OSError": 1,
    }  # fmt: skip
    assert recorder.timed("api.POST") == {
        "api.POST_channels_messages": 1, "api.POST_interactions_callback": 3,
    }  # fmt: skip
    assert recorder.counted("instrument") == {}


def test_refusals_and_waits_for_a_bucket_are_told_by_method(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hurry() -> None:
        server, plain = Discord(), recorder.instrument(client())
        async with connected(plain, server, monkeypatch):
            talk = plain.get_partial_messageable(int(CHANNEL))
            server.answers = [refusal(0.03), last_of_bucket(0.05)]
            await talk.send("hi")  # refused, sent again, and waits until its bucket is full
            server.answers = [answer({"message": "no", "code": 5}, status=403)]
            with pytest.raises(discord.Forbidden):
                await talk.send("hi")

    asyncio.run(hurry())

    name = "api.POST_channels_messages"
    assert recorder.timed(name) == {name: 2, f"{name}.wait": 2}
    refused_s, waited_s = recorder.timings[f"{name}.wait"]
    assert refused_s == 0.03
    assert waited_s >= 0.04
    assert recorder.counted("api") == {
        f"{name}.errors": 1, f"{name}.limited": 1, "api.status.429": 1, "api.status.403": 1,
    }  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_is_traced_or_logged_in_already_is_measured_as_well(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async def late() -> None:
        server = Discord()
        trace: Any = aiohttp.TraceConfig() if when == "before" else None
        plain = discord.Client(intents=discord.Intents.none(), http_trace=trace)
        async with server.serving():
            monkeypatch.setattr(discord.http.Route, "BASE", server.url)
            if when == "before":
                recorder.instrument(plain)
            await plain.login("token")
            recorder.instrument(plain)
            talk = plain.get_partial_messageable(int(CHANNEL))
            server.answers = [refusal(0.0)]
            await talk.send("hi")
            await plain.close()

    asyncio.run(late())

    assert recorder.counters["api.status.429"] == 1
    assert recorder.counted("instrument") == {}


def test_two_clients_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Recorder(), Recorder()

    async def both() -> None:
        first, second, third = bot(), bot(), bot()
        one.instrument(first)
        other.instrument(second)
        for mine in (first, second, third):
            async with mine:
                state: Any = mine._connection
                me: Any = user()
                state.user = discord.ClientUser(state=state, data=me)

                @mine.tree.command(description="x")
                async def act(interaction: discord.Interaction) -> None: ...

                data = {"id": "1", "name": "act", "type": 1}
                state.parse_interaction_create(interaction(2, data))
                await asyncio.sleep(0.01)

    asyncio.run(both())

    for recorder in (one, other):
        assert recorder.timed("handler") == {"handler.act": 1}
        assert recorder.counted("updates") == {"updates": 1, "updates.interaction": 1}


def test_a_cancelled_listener_is_no_error(recorder: Recorder) -> None:
    async def cancel() -> None:
        async with recorder.instrument(client()) as plain:
            begun = asyncio.Event()

            @plain.event
            async def on_raid(_who: str) -> None:
                begun.set()
                await asyncio.Event().wait()

            plain.dispatch("raid", "ada")
            await begun.wait()
            assert recorder.gauges["updates.in_flight"] == 1
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())

    assert recorder.counters == {
        "updates": 1, "updates.raid": 1, "handler.on_raid.cancelled": 1,
    }  # fmt: skip
    assert recorder.gauges["updates.in_flight"] == 0
