"""Scaling by load for real: a supervisor that runs processes, a Celery worker that has a pool."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from textwrap import dedent
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery import Celery
from kombu import pools as kombu_pools

from outrider.errors import BadArgument, OutriderError
from outrider.settings import Settings
from outrider.store import keys
from outrider.supervisor import process
from outrider.tasks import autoscale, context, pools
from tests.servers.valkey import Server
from tests.tasks.nodes import ProcessContainer
from tests.unit.supervisor.fleets import Fleet, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from outrider.tasks.context import Context

WITHIN_S = 30.0
HOST = "alpha"


class Clock:
    def __init__(self) -> None:
        self.at_s = 1_800_000_000.0

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s


class Scene:
    """A host: its supervisor, and rows that tell of a load."""

    def __init__(self, fleet: Fleet, ctx: Context, clock: Clock) -> None:
        self.fleet, self.ctx, self.clock = fleet, ctx, clock
        self._done = 0.0

    def tick(self, rate: float, *, queue: float = 0.0) -> None:
        """Leave a row in which work arrived; a piece takes a tenth of a second."""
        self.clock.at_s += self.ctx.store.interval_s
        self._done += rate * self.ctx.store.interval_s
        replicas = self.instances()
        row = {f"bot.{name}.ready": 1.0 for name in replicas} | {
            "bot.canary.handle_update.count": self._done,
            "bot.canary.handle_update.sum_s": self._done / 10,
            "bot.canary.updates.backlog": queue,
        }
        self.ctx.store.append(HOST, self.ctx.tick(), row)

    def instances(self) -> list[str]:
        return sorted(self.fleet.supervisor.processes)

    def actions(self) -> list[dict[str, Any]]:
        return [
            json.loads(a) for a in cast("list[bytes]", self.ctx.redis.lrange(keys.ACTIONS, 0, -1))
        ]

    def kept(self) -> Any:
        return json.loads(cast("bytes", self.ctx.redis.hget(keys.scaling(HOST), "canary")))


@pytest.fixture
def scene(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Scene]]:
    monkeypatch.setattr(process, "ALIVE_AFTER_S", 0.05)
    monkeypatch.setattr(autoscale, "_targets", {})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    fleet = Fleet(tmp_path)
    managed = opened(fleet)

    def on_loop(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(WITHIN_S)

    on_loop(managed.__aenter__())

    async def start() -> None:
        fleet.declared["canary"] = fleet.spec("canary")
        fleet.start(fleet.declared["canary"])
        await fleet.becomes("ready", "canary")

    on_loop(start())

    def made(**scale: Any) -> Scene:
        clock = Clock()
        settings = Settings.model_validate(
            {"host": HOST, "data_dir": tmp_path, "bots": {
                "canary": {"entry": "m:f", "scale": {"max": 6, "cool_down_s": 0, **scale}},
            }}
        )  # fmt: skip
        ctx = context.build(settings, valkey_url, clock)
        monkeypatch.setattr(context, "current", lambda: ctx)
        return Scene(fleet, ctx, clock)

    yield made
    on_loop(managed.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_bot_follows_its_load_up_and_down(scene: Callable[..., Scene]) -> None:
    at = scene()
    for _ in range(3):
        at.tick(8.0)
    autoscale.autoscale()
    assert at.instances() == ["canary"]

    at.tick(35.0)
    decided = autoscale.autoscale()["decided"]

    assert len(at.instances()) >= 4
    assert decided[0]["wanted"] == len(at.instances())
    newest = at.actions()[0]
    assert (newest["who"], newest["what"], newest["bot"]) == (
        f"autoscaler@{HOST}",
        "scale",
        "canary",
    )
    assert newest["result"] == "done"
    assert newest["why"].startswith("up from 1 to ")
    told = [detail for _, what, detail in at.fleet.events("canary") if what == "asked to scale"]
    assert "by autoscaler: up from 1" in told[-1]

    for _ in range(20):  # a surprise is remembered for an hour or two
        for _ in range(50):
            at.tick(1.0)
        autoscale.autoscale()
    assert at.instances() == ["canary"]
    assert any("down from" in action["why"] for action in at.actions())


def test_the_same_row_twice_decides_once(scene: Callable[..., Scene]) -> None:
    at = scene()
    at.tick(8.0)
    at.tick(8.0)

    assert len(autoscale.autoscale()["decided"]) == 1
    assert autoscale.autoscale()["decided"] == []


def test_a_dry_run_only_tells(scene: Callable[..., Scene]) -> None:
    at = scene(dry_run=True)
    for _ in range(3):
        at.tick(35.0)

    autoscale.autoscale()

    assert at.instances() == ["canary"]
    assert at.kept()["wanted"] >= 4
    assert at.kept()["result"] == at.actions()[0]["result"] == "dry run: not done"


def test_a_queue_that_waits_calls_for_more(scene: Callable[..., Scene]) -> None:
    at = scene()
    for _ in range(3):
        at.tick(8.0)
    at.tick(8.0, queue=400.0)

    autoscale.autoscale()

    assert len(at.instances()) >= 4
    assert "of it waits" in at.kept()["reason"]


def test_a_bot_that_a_person_stopped_stays_stopped(scene: Callable[..., Scene]) -> None:
    at = scene()
    for _ in range(3):
        at.tick(35.0)
    from outrider.supervisor import control

    control.ask(at.ctx.settings.run_dir(), "stop", bot="canary", who="anna")

    assert autoscale.autoscale()["decided"] == []
    assert at.instances() == ["canary"]
    assert at.fleet.state("canary") == "stopped"


def test_a_scaler_that_starts_late_has_the_days_before_in_mind(
    scene: Callable[..., Scene],
) -> None:
    at = scene()
    for _ in range(200):
        at.tick(8.0)
    at.tick(35.0)
    for _ in range(70):
        at.tick(8.0)

    autoscale.autoscale()

    target = autoscale._targets["canary"]
    assert target._scaler._demand._record > 1.0


def test_without_a_supervisor_nothing_is_decided(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_validate(
        {"host": HOST, "data_dir": tmp_path, "bots": {"a": {"entry": "m:f", "scale": {"max": 2}}}}
    )
    ctx = context.build(settings, valkey_url, Clock())
    monkeypatch.setattr(context, "current", lambda: ctx)

    assert autoscale.autoscale()["decided"] == []
    with pytest.raises(BadArgument, match="this worker is on 'alpha'"):
        autoscale.autoscale(host="beta")


SHOP = """
from celery import Celery
app = Celery("shop", broker={url!r})
"""


@pytest.fixture
def broker() -> Iterator[Server]:
    with Server() as server:
        yield server
    kombu_pools.reset()


@pytest.fixture
def shop(
    broker: Server, tmp_path: Path, worker_environment: dict[str, str]
) -> Iterator[Callable[[str], ProcessContainer]]:
    (tmp_path / "shop.py").write_text(dedent(SHOP.format(url=broker.url)))
    started = []

    def start(pool: str) -> ProcessContainer:
        argv = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", pool, "-c", "2",
                "-n", f"{pool}@market", "-l", "INFO"]  # fmt: skip
        worker = ProcessContainer(
            pool, argv, cwd=tmp_path, env=worker_environment, ready_prompt="ready."
        )
        worker.ready()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.teardown()


def processes(broker: Server) -> int:
    with Celery(broker=broker.url, set_as_current=False) as client:
        stats = client.control.inspect(timeout=2).stats() or {}
        return sum(len(told["pool"]["processes"]) for told in stats.values())


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s"
        time.sleep(0.1)


def application(broker: Server) -> Any:
    return Settings.model_validate(
        {"celery": [{"name": "shop", "broker": broker.url, "scale": {"max": 5}}]}
    ).celery[0]


@pytest.mark.long
def test_a_real_workers_pool_grows_and_shrinks(
    broker: Server, shop: Callable[[str], ProcessContainer]
) -> None:
    shop("prefork")

    assert pools.resize(application(broker), 4) == {"prefork@market": 4}
    eventually(lambda: processes(broker) == 4)
    assert pools.resize(application(broker), 1) == {"prefork@market": 1}
    eventually(lambda: processes(broker) == 1)


def test_a_pool_of_threads_says_that_it_cant(
    broker: Server, shop: Callable[[str], ProcessContainer]
) -> None:
    shop("threads")

    with pytest.raises(OutriderError, match="threads@market: pool_grow"):
        pools.resize(application(broker), 4)


def test_without_workers_or_broker_the_error_says_so(broker: Server) -> None:
    with pytest.raises(OutriderError, match="no worker of shop answered"):
        pools.resize(application(broker), 4)
    broker.kill()
    with pytest.raises(OutriderError, match="the broker of shop is away"):
        pools.resize(application(broker), 4)


def test_the_pools_of_an_application_follow_its_load(
    broker: Server, shop: Callable[[str], ProcessContainer], valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shop("prefork")
    clock = Clock()
    settings = Settings.model_validate(
        {"host": HOST, "celery": [{"name": "shop", "broker": broker.url, "scale": {"max": 5}}]}
    )
    ctx = context.build(settings, valkey_url, clock)
    monkeypatch.setattr(context, "current", lambda: ctx)
    monkeypatch.setattr(autoscale, "_targets", {})
    for number in range(10):
        clock.at_s += 10
        ctx.store.append(keys.FLEET, ctx.tick(), {
            "celery.shop.workers.processes": 2.0,
            "celery.shop.queue.mail.length": 0.0,
            "celery.shop.tasks.runtime.count": 320.0 * number,
            "celery.shop.tasks.runtime.sum_s": 32.0 * number,
        })  # fmt: skip

    decided = autoscale.autoscale(what="pools")["decided"]

    assert [(each["bot"], each["wanted"]) for each in decided] == [("celery:shop", 4)]
    eventually(lambda: processes(broker) == 4)


def test_each_collected_row_orders_scaling_where_a_bot_scales(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import current_app

    from outrider.store import queues
    from outrider.tasks import collect
    from outrider.workers import config

    def ordered(**bot: Any) -> list[str]:
        settings = Settings.model_validate(
            {"host": HOST, "data_dir": tmp_path, "bots": {"a": {"entry": "m:f", **bot}}}
        )
        ctx = context.build(settings, valkey_url, Clock())
        monkeypatch.setattr(context, "current", lambda: ctx)
        monkeypatch.setattr(collect, "_host_row", lambda: HostRow(settings))
        ctx.redis.flushall()
        with Celery("test", set_as_current=False) as app:
            app.conf.update(config.celery_config(settings, valkey_url))
            app.set_current()
            collect.collect_host()
            sent = cast("list[bytes]", ctx.redis.lrange(queues.of_host(HOST), 0, -1))
        return [json.loads(message)["headers"]["task"] for message in sent]

    from outrider.metrics.row import HostRow

    before: Any = current_app
    before = before._get_current_object()
    try:
        assert ordered() == []
        assert ordered(scale={"max": 3}) == ["outrider.supervise.autoscale"]
    finally:
        before.set_current()
        kombu_pools.reset()
