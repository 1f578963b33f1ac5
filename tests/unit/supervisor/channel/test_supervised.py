"""Real bots under a real supervisor: who they are is known by their processes."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import keys, warming
from outrider.cache.codec import Codec
from outrider.clock import SYSTEM
from outrider.errors import ChannelLost
from outrider.store import connection
from outrider.tasks import warm

if TYPE_CHECKING:
    from tests.unit.supervisor.fleets import Fleet, Run

BOT = """
import os, subprocess, sys, time, outrider
channel = outrider.Bot().channel
channel.serve("who", lambda body, sender: [channel.instance, sender, os.getpid()], at_once=1)
channel.serve("hang", lambda body, sender: time.sleep(600), only="supervisor")
channel.serve("spawn", lambda body, sender: subprocess.check_output([sys.executable, "-c", body]))
channel.publish("up", os.getpid())
time.sleep(600)
"""
CHILD = """
from outrider.sdk.bot import Bot
print(Bot().channel.request("who", bot="market").result()[1], end="")
"""


def bot(fleet: Fleet, name: str, **options: Any) -> Any:
    env = {"OUTRIDER_BOT": name, "OUTRIDER_CHANNEL": str(fleet.supervisor.channel_path)}
    argv = (sys.executable, "-c", textwrap.dedent(BOT))
    return fleet.spec(name, argv, env=env, **options)


async def up(fleet: Fleet, *specs: Any) -> dict[str, int]:
    """Start bots, and return their pids when all have spoken."""
    heard: dict[str, int] = {}
    fleet.supervisor.hub.desk.subscribe("up", lambda pid, who: heard.update({who: pid}))
    fleet.start(*specs)
    await fleet.until(lambda: len(heard) == len(specs))
    return heard


def test_bots_are_known_by_their_processes_and_share_work(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        heard = await up(fleet, bot(fleet, "market"), bot(fleet, "market-2", bot="market"))
        assert heard == {name: fleet.pid(name) for name in ("market", "market-2")}

        desk = fleet.supervisor.hub.desk
        answers = await asyncio.gather(*(desk.request("who", bot="market") for _ in range(8)))
        assert {name for name, _, _ in answers} == {"market", "market-2"}
        assert all(pid == heard[name] and who == "supervisor" for name, who, pid in answers)
        (one, _, _) = await desk.request("who", instance="market-2")
        assert one == "market-2"

    run(test)


def test_a_bots_child_speaks_under_its_name_and_others_not_at_all(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        await up(fleet, bot(fleet, "market"), bot(fleet, "canary"))
        desk = fleet.supervisor.hub.desk
        assert await desk.request("spawn", CHILD, bot="canary", within_s=30) == b"canary"

        env = os.environ | {"OUTRIDER_CHANNEL": str(fleet.supervisor.channel_path)}
        code = CHILD.replace("bot=", "within_s=1.5, bot=")
        stranger = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env=env, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await stranger.communicate()
        assert b"ChannelTimeout" in said
        assert fleet.supervisor.hub.refused["not a process of this supervisor"] >= 1

    run(test)


def test_an_order_to_a_bot_that_dies_is_lost_at_once_and_the_next_finds_the_new_one(
    run: Run,
) -> None:
    async def test(fleet: Fleet) -> None:
        before = (await up(fleet, bot(fleet, "market")))["market"]
        desk = fleet.supervisor.hub.desk
        order = asyncio.ensure_future(desk.request("hang", bot="market", within_s=60))
        await fleet.until(lambda: fleet.supervisor.hub.snapshot()["work"]["market"]["running"])
        fleet.supervisor.processes["market"].kill("to see what becomes of its order")
        with pytest.raises(ChannelLost, match="market is gone"):
            await order

        (_, _, pid) = await desk.request("who", bot="market", within_s=30)
        assert pid == fleet.pid("market") != before

    run(test)


def test_the_snapshot_and_the_events_tell_of_the_channel(run: Run) -> None:
    noise = """
    import os, socket, time
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["OUTRIDER_CHANNEL"])
    s.send(b"GET / HTTP/1.0")
    time.sleep(600)
    """

    async def test(fleet: Fleet) -> None:
        env = {"OUTRIDER_CHANNEL": str(fleet.supervisor.channel_path)}
        argv = (sys.executable, "-I", "-S", "-c", textwrap.dedent(noise))
        fleet.start(fleet.spec("loud", argv, env=env))
        await fleet.until(lambda: ("loud", "channel closed") in {e[:2] for e in fleet.events()})
        snapshot = (await fleet.order("snapshot"))["result"]["channel"]

        assert snapshot["faults"] == 1
        assert "a frame of 1,195,725,856 bytes" in snapshot["closed"][0]["reason"]

    run(test)


CACHING = """
import asyncio, os, outrider

@outrider.cached(ttl_s=60, namespace="sessions")
async def session(name: str) -> dict:
    return {"name": name, "loop": id(asyncio.get_running_loop()), "pid": os.getpid()}

async def main():
    bot = outrider.Bot()
    await session("alice")
    bot.channel.publish("up", os.getpid())
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_workers_ask_a_bot_through_its_supervisor_to_load_ahead(run: Run, valkey_url: str) -> None:
    name = '["alice"]'

    async def test(fleet: Fleet) -> None:
        env = {
            "OUTRIDER_BOT": "market",
            "OUTRIDER_CHANNEL": str(fleet.supervisor.channel_path),
            "OUTRIDER_REDIS_URL": valkey_url,
        }
        argv = (sys.executable, "-c", textwrap.dedent(CACHING))
        heard = await up(fleet, fleet.spec("market", argv, env=env))
        with connection.connect(valkey_url) as client:
            await fleet.until(lambda: client.hexists(keys.usage("sessions"), name))
            client.delete(keys.value("sessions", name))

            def load(*, even_if_fresh: bool = False) -> warming.Warmed:
                return warming.run(
                    client, [("sessions", name)], allowed=(), clock=SYSTEM,
                    even_if_fresh=even_if_fresh, ask=warm._ask(fleet.supervisor.run_dir, SYSTEM),
                )  # fmt: skip

            done = await asyncio.to_thread(load)
            assert (done.warmed, done.failed) == (1, [])
            kept = client.get(keys.value("sessions", name))
            assert isinstance(kept, bytes)
            value = Codec("session", dict).decode(kept).value
            assert (value["name"], value["pid"]) == ("alice", heard["market"])
            again = await asyncio.to_thread(load)
            assert (again.warmed, again.fresh) == (0, 1)

            await fleet.order("stop", bot="market")
            left = await asyncio.to_thread(lambda: load(even_if_fresh=True))
            assert (left.warmed, left.left) == (0, 1)
            assert client.zscore(keys.due("sessions"), name) is not None

    run(test)


@pytest.mark.parametrize(
    "requests", [None, [1], [{"name": "x"}], [{"name": "", "instance": "a"}], {"name": "x"}]
)
def test_a_request_that_makes_no_sense_is_refused(requests: object, run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        answer = await fleet.order("request", requests=requests)
        assert (answer["ok"], answer["type"]) == (False, "BadArgument")
        assert "requests can't be read" in answer["error"]

    run(test)


def test_a_request_to_nobody_is_answered_with_the_problem(run: Run) -> None:
    async def test(fleet: Fleet) -> None:
        answer = await fleet.order("request", requests=[{"name": "x", "instance": "gone"}])
        assert [one["problem"] for one in answer["result"]] == ["refused"]

    run(test)
