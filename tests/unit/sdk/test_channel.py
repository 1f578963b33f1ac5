"""A bot's end against a real hub, in threads, in asyncio, across forks and supervisors."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import (
    BadArgument,
    ChannelBusy,
    ChannelLost,
    ChannelRefused,
    ChannelTimeout,
    RequestFailed,
)
from outrider.sdk import channel as channels
from outrider.sdk import handlers
from outrider.sdk.bot import Bot
from outrider.sdk.channel import Channel
from outrider.supervisor.channel import router
from tests.unit.channel.hubs import Running, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "channel.sock", "canary", "market", "market-2", "") as hub:
        yield hub


def subscribed(running: Running, many: int = 1) -> None:
    until(lambda: sum(len(peer["topics"]) for peer in running.snapshot()["peers"]) >= many)


def serving(running: Running, many: int = 1) -> None:
    until(lambda: sum(len(peer["serves"]) for peer in running.snapshot()["peers"]) >= many)


def test_the_supervisor_hears_what_a_bot_publishes(running: Running) -> None:
    heard: list[Any] = []
    running.call(lambda: running.hub.desk.subscribe("t", lambda *said: heard.append(said)))
    channel = running.channel()

    assert all(channel.publish("t", {"n": number}) for number in range(3))
    until(lambda: len(heard) == 3)
    assert heard == [({"n": number}, "canary") for number in range(3)]
    assert (channel.instance, channel.bot) == ("canary", "canary")


def test_bots_hear_each_other_and_the_supervisor(running: Running) -> None:
    heard: list[Any] = []
    publisher, subscriber = running.connected(), running.connected()
    subscriber.subscribe("t", lambda *said: heard.append(said))
    subscribed(running)
    publisher.publish("t", 1)
    publisher.publish("t", 2, urgent=True)
    until(lambda: len(heard) == 2)
    running.call(lambda: running.hub.desk.publish("t", 3))
    until(lambda: len(heard) == 3)

    assert sorted(heard) == [(1, "canary"), (2, "canary"), (3, "supervisor")]


def test_a_flood_arrives_whole_in_order_and_in_few_frames(running: Running) -> None:
    heard: list[int] = []
    publisher, subscriber = running.connected(), running.connected()
    subscriber.subscribe("t", lambda body, _: heard.append(body[0]))
    subscribed(running)
    for number in range(30_000):
        while number - len(heard) > 5000 or not publisher.publish("t", [number, "x" * 180]):
            publisher.request("ping", bot="supervisor").result()
    until(lambda: len(heard) == 30_000)

    assert heard == list(range(30_000))
    figures = publisher.figures()
    assert figures["channel.batches_total"] < 15_000
    assert figures["channel.dropped_total"] == 0


def test_many_threads_may_publish(running: Running) -> None:
    heard: list[Any] = []
    running.call(lambda: running.hub.desk.subscribe("t", lambda body, _: heard.append(body)))
    channel = running.channel()

    def publish(start: int) -> None:
        for number in range(start, start + 2000):
            while not channel.publish("t", number):
                channel.room().result()

    threads = [threading.Thread(target=publish, args=(2000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(heard) == 8000)

    assert sorted(heard) == list(range(8000))


def test_who_unsubscribes_hears_no_more(running: Running) -> None:
    heard: list[Any] = []
    channel = running.connected()
    channel.subscribe("t", lambda body, _: heard.append(body))
    channel.unsubscribe("t")
    channel.publish("t", 1)
    channel.request("ping", bot="supervisor").result()

    assert heard == []


def test_a_full_outbox_says_so_and_room_comes_when_the_hub_reads_again(running: Running) -> None:
    channel = running.connected()
    channel._link.outbox.most_bytes = 100_000
    reading, go_on = threading.Event(), threading.Event()

    def stall() -> None:
        reading.set()
        go_on.wait(20)

    running._loop.call_soon_threadsafe(stall)
    reading.wait(20)
    while channel.publish("t", "x" * 1000):
        pass
    room = channel.room()
    assert channel.figures()["channel.dropped_total"] == 1
    assert not room.done
    assert channel.figures()["channel.queued_bytes"] <= 100_000

    go_on.set()
    room.result()
    assert channel.publish("t", "x" * 1000)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_request_is_answered(running: Running, blocking: bool) -> None:  # noqa: FBT001 - a case
    server = running.connected()
    server.serve("double", lambda body, sender: [2 * body, sender])
    serving(running)
    asker = running.connected()

    async def ask() -> Any:
        return await asker.request("double", 21, bot="canary")

    found = asker.request("double", 21, bot="canary").result() if blocking else asyncio.run(ask())
    assert found == [42, "market"]


def test_an_async_function_runs_in_the_loop_it_was_served_in(running: Running) -> None:
    asker, server = running.connected(), running.connected()

    async def bot() -> Any:
        loop = asyncio.get_running_loop()

        async def load(body: Any, _: str) -> list[Any]:
            await asyncio.sleep(0)
            return [body, asyncio.get_running_loop() is loop]

        server.serve("load", load)
        return await asker.request("load", "key", bot="market")

    assert asyncio.run(bot()) == ["key", True]


def test_an_async_function_works_without_a_loop_too(running: Running) -> None:
    server = running.connected()

    async def load(body: Any, _: str) -> Any:
        await asyncio.sleep(0)
        return body

    server.serve("load", load)
    assert running.ask("load", 5, bot="canary") == 5


def test_an_async_subscriber_is_called_in_its_loop_one_by_one(running: Running) -> None:
    publisher, subscriber = running.connected(), running.connected()
    heard: list[Any] = []

    async def bot() -> None:
        done = asyncio.Event()

        async def hear(body: int, _: str) -> None:
            heard.append(("begins", body))
            await asyncio.sleep(0)
            heard.append(("ends", body))
            if body == 2:
                done.set()

        subscriber.subscribe("t", hear)
        subscriber.request("ping", bot="supervisor").result()
        for number in range(3):
            publisher.publish("t", number)
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(bot())
    assert heard == [(what, n) for n in range(3) for what in ("begins", "ends")]


def test_an_async_subscriber_needs_a_loop(running: Running) -> None:
    async def hear(_: Any, __: str) -> None: ...

    with pytest.raises(BadArgument, match="needs a loop"):
        running.channel().subscribe("t", hear)


def test_a_loop_that_does_not_keep_up_drops_and_counts(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "MOST_PENDING", 100)
    publisher, subscriber = running.connected(), running.connected()
    heard: list[Any] = []

    async def bot() -> None:
        subscriber.subscribe("t", lambda body, _: heard.append(body))
        subscriber.request("ping", bot="supervisor").result()
        for number in range(500):  # while the loop is blocked by this
            publisher.publish("t", number)
        until(lambda: subscriber.figures()["channel.received_total"] == 500)
        await asyncio.sleep(0)

    asyncio.run(bot())
    assert len(heard) + subscriber.figures()["channel.dropped_total"] == 500
    assert 0 < len(heard) <= 100


def test_a_failing_subscriber_is_counted_and_called_again(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    channel = running.connected()

    def hear(body: int, _: str) -> None:
        heard.append(1 / body)

    channel.subscribe("t", hear)
    channel.publish("t", 0)
    channel.publish("t", 1)
    until(lambda: heard)

    assert channel.figures()["channel.failures_total"] == 1
    assert "the subscriber of t failed" in caplog.text


def test_what_a_function_raises_is_told_to_who_asked(running: Running) -> None:
    server = running.connected()
    server.serve("load", lambda body, _: 1 / body)
    server.serve("leave", lambda *_: sys.exit(3))
    server.serve("odd", lambda *_: object())

    with pytest.raises(RequestFailed, match="ZeroDivisionError: division by zero"):
        running.ask("load", 0, bot="canary")
    with pytest.raises(RequestFailed, match="SystemExit: 3"):
        running.ask("leave", bot="canary")
    with pytest.raises(RequestFailed, match="can't hold this object"):
        running.ask("odd", bot="canary")
    assert running.ask("load", 2, bot="canary") == 0.5


def test_the_supervisors_own_functions_answer_bots(running: Running) -> None:
    async def slow(body: Any, sender: str) -> Any:
        await asyncio.sleep(0)
        return [body, sender]

    running.call(lambda: running.hub.desk.serve("slow", slow))
    running.call(lambda: running.hub.desk.serve("bad", lambda body, _: 1 / body))
    channel = running.connected()

    assert channel.request("slow", 1, bot="supervisor").result() == [1, "canary"]
    with pytest.raises(RequestFailed, match="ZeroDivisionError"):
        channel.request("bad", 0, bot="supervisor").result()


def test_nobody_serves_it(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router, "SETTLED_S", 0.0)
    channel = running.connected()
    with pytest.raises(ChannelRefused, match="no bot 'nobody' is supervised"):
        channel.request("load", bot="nobody").result()
    with pytest.raises(ChannelRefused, match="serves no such function: 'lod'"):
        channel.request("lod", bot="canary").result()


def test_orders_may_be_kept_for_the_supervisor(running: Running) -> None:
    server, other = running.connected(), running.connected()
    server.serve("drain", lambda *_: "drained", only="supervisor")

    assert running.ask("drain", bot="canary") == "drained"
    with pytest.raises(ChannelRefused, match="does not serve it to you"):
        other.request("drain", bot="canary").result()


def test_an_answer_that_does_not_come_in_time_is_an_error(running: Running) -> None:
    server, asker = running.connected(), running.connected()
    go_on = threading.Event()
    server.serve("hang", lambda *_: go_on.wait(20) and None)

    with pytest.raises(ChannelTimeout, match="canary did not answer in time"):
        asker.request("hang", bot="canary", within_s=0.1).result()
    go_on.set()


def test_an_async_function_is_cancelled_when_nobody_waits_any_more(running: Running) -> None:
    server, asker = running.connected(), running.connected()

    async def bot() -> str:
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hang(_: Any, __: str) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.set_result("cancelled")
                raise

        server.serve("hang", hang)
        with pytest.raises((ChannelTimeout, RequestFailed)):
            await asker.request("hang", bot="canary", within_s=0.1)
        return await asyncio.wait_for(ended, 20)

    assert asyncio.run(bot()) == "cancelled"


def test_load_is_shared_between_instances(running: Running) -> None:
    asker, first, second = (running.connected() for _ in range(3))
    hold = threading.Event()
    seen: dict[str, int] = {"market": 0, "market-2": 0}

    def work(name: str) -> Callable[[Any, str], Any]:
        def run(_: Any, __: str) -> None:
            seen[name] += 1
            hold.wait(20)

        return run

    first.serve("work", work("market"), at_once=4)
    second.serve("work", work("market-2"), at_once=4)
    serving(running, 2)
    answers = [asker.request("work", bot="market", within_s=20) for _ in range(8)]
    until(lambda: sum(seen.values()) == 8)
    hold.set()

    assert seen == {"market": 4, "market-2": 4}
    assert [answer.result() for answer in answers] == [None] * 8
    assert running.snapshot()["work"]["market"]["answered"] == 8


def test_one_instance_can_be_asked(running: Running) -> None:
    asker, first, second = (running.connected() for _ in range(3))
    first.serve("name", lambda *_: first.instance)
    second.serve("name", lambda *_: second.instance)

    assert asker.request("name", instance="market-2").result() == "market-2"
    assert running.ask("name", instance="market") == "market"


def test_draining_ends_what_was_begun_and_begins_nothing_new(running: Running) -> None:
    asker, first, second = (running.connected() for _ in range(3))
    begun, go_on = threading.Event(), threading.Event()

    def work(_: Any, __: str) -> str:
        begun.set()
        go_on.wait(20)
        return "whole"

    first.serve("work", work, at_once=2)
    under_way = asker.request("work", bot="market", within_s=20)
    begun.wait(20)
    drained = first.drain()
    second.serve("work", lambda *_: "second")
    after = [asker.request("work", bot="market").result() for _ in range(5)]
    assert not drained.done
    go_on.set()
    drained.result()

    assert under_way.result() == "whole"
    assert after == ["second"] * 5


def test_a_new_supervisor_is_found_and_told_everything(running: Running) -> None:
    running.names = ["canary"]
    heard: list[Any] = []
    channel = running.connected()
    channel.subscribe("t", lambda body, _: heard.append(body))
    channel.serve("load", lambda body, _: body)
    serving(running)
    running.close()
    until(lambda: not channel.connected)
    assert channel.publish("t", "meanwhile")
    meanwhile = channel.request("load", "asked meanwhile", bot="canary", within_s=20)
    running.open()

    assert meanwhile.result() == "asked meanwhile"
    until(lambda: "meanwhile" in heard)
    assert channel.figures()["channel.reconnects_total"] == 1


def test_what_was_under_way_is_lost_with_the_supervisor_or_asked_again(running: Running) -> None:
    running.names = ["canary", "market", "canary"]
    asker, server = running.connected(), running.connected()
    calls: list[str] = []
    go_on = threading.Event()

    def work(body: str, _: str) -> str:
        calls.append(body)
        go_on.wait(20)
        return body

    server.serve("work", work, at_once=4)
    serving(running)
    once = asker.request("work", "once", bot="market", within_s=20)
    again = asker.request("work", "again", bot="market", within_s=20, idempotent=True)
    until(lambda: len(calls) == 2)
    running.close()
    until(lambda: not asker.connected and not server.connected)
    running.names = ["market"]  # for both, since either may be first
    go_on.set()

    with pytest.raises(ChannelLost):
        once.result()
    running.open()
    assert again.result() == "again"
    assert calls.count("once") == 1


def test_requests_fail_in_time_while_there_is_no_supervisor(tmp_path: Path) -> None:
    channel = Channel(str(tmp_path / "nobody.sock"))
    with pytest.raises(ChannelTimeout, match="the supervisor is away"):
        channel.request("load", bot="canary", within_s=0.05).result()
    channel.close()


def test_without_a_supervisor_nothing_waits() -> None:
    channel = Channel(None)

    assert not channel.publish("t", 1)
    assert channel.figures()["channel.dropped_total"] == 1
    with pytest.raises(ChannelLost, match="no OUTRIDER_CHANNEL"):
        channel.request("load", bot="canary").result()
    channel.subscribe("t", lambda *_: None)
    channel.close()


def test_too_many_requests_are_busy(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MOST_ASKED", 2)
    running.bots.add("later")
    channel = running.connected()
    for _ in range(2):
        channel.request("load", bot="later", within_s=20)

    with pytest.raises(ChannelBusy):
        channel.request("load", bot="later").result()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "names a bot, or one instance"),
        ({"bot": "a", "instance": "a"}, "names a bot, or one instance"),
        ({"bot": "a", "within_s": 0}, "within_s = 0 must be"),
        ({"bot": "a", "within_s": float("nan")}, "within_s = nan must be"),
        ({"bot": "a", "body": object()}, "can't hold this object"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once(
    arguments: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadArgument, match=why):
        Channel(None).request("load", **arguments)
    with pytest.raises(BadArgument, match="must be a text"):
        Channel(None).request("", bot="a")


def test_a_subscriber_that_would_wait_for_itself_is_told(running: Running) -> None:
    channel, errors = running.connected(), []

    def hear(_: Any, __: str) -> None:
        try:
            channel.request("ping", bot="supervisor").result()
        except BadArgument as error:
            errors.append(str(error))

    channel.subscribe("t", hear)
    channel.publish("t", 1)
    until(lambda: errors)
    assert "channel's own thread" in errors[0]


def test_an_awaiter_that_was_cancelled_is_forgotten(running: Running) -> None:
    running.bots.add("later")
    channel = running.connected()

    async def bot() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await channel.request("load", bot="later", within_s=0.2)
        with pytest.raises(ChannelTimeout):
            await channel.request("load", bot="later", within_s=0.5)

    asyncio.run(bot())


def test_a_close_tells_those_who_wait(running: Running) -> None:
    running.bots.add("later")
    channel = running.connected()
    waiting = channel.request("load", bot="later", within_s=20)
    channel.close()

    with pytest.raises(ChannelLost, match="was closed"):
        waiting.result()
    until(lambda: not running.snapshot()["peers"])


CHILD = """
import os, sys
from outrider.sdk.bot import Bot

bot = Bot("canary")
heard = []
bot.channel.subscribe("t", lambda body, sender: heard.append(body))
bot.channel.serve("who", lambda body, sender: os.getpid())
assert bot.channel.request("ping", 1, bot="supervisor").result() == 1
child = os.fork()
if child == 0:
    ok = not bot.channel.connected
    ok &= bot.channel.request("ping", 2, bot="supervisor").result() == 2
    ok &= bot.channel.publish("from", "child")
    bot.channel.flush()
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert bot.channel.request("who", bot="canary").result() == os.getpid()
assert bot.channel.publish("from", "parent")
"""


def test_a_fork_leaves_the_parents_connection_alone_and_a_program_loses_no_last_word(
    running: Running,
) -> None:
    heard: list[Any] = []
    running.hub._who = lambda pid: ("canary", "canary") if pid != os.getpid() else None
    running.call(lambda: running.hub.desk.subscribe("from", lambda body, _: heard.append(body)))
    env = os.environ | {"OUTRIDER_CHANNEL": str(running.path)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)], env=env, timeout=60, check=False
    )

    assert ended.returncode == 0
    until(lambda: sorted(heard) == ["child", "parent"])


def test_a_bot_has_one_channel_and_tells_of_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outrider.metrics import frame

    monkeypatch.setenv("OUTRIDER_CHANNEL", str(running.path))
    frames: list[bytes] = []

    def keep(message: bytes) -> bool:
        frames.append(message)
        return True

    bot = Bot("channelled", transport=keep)
    channel = bot.channel
    running.channels.append(channel)
    channel.request("ping", bot="supervisor").result()
    bot.flush()

    assert bot.channel is channel
    assert frame.decode(frames[-1]).gauges["channel.connected"] == 1.0


def test_importing_and_making_a_bot_does_not_import_the_channel() -> None:
    code = (
        "import sys, outrider; outrider.Bot('canary');"
        "print([m for m in ('msgspec', 'socket', 'asyncio', 'outrider.sdk.channel')"
        " if m in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_connection_with_a_large_descriptor_works_too(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.sdk.link._SELECTABLE", 0)
    channel = running.connected()

    assert [channel.request("ping", n, bot="supervisor").result() for n in range(3)] == [0, 1, 2]


def test_a_hub_that_speaks_nonsense_is_left(tmp_path: Path) -> None:
    path = tmp_path / "bad.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        channel = Channel(str(path))
        channel.publish("t", 1)
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\0\0\0\1\xc1")
        until(lambda: "not a frame" in channel._link.reason)
        assert not channel.connected
    channel.close()
