from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import asking, keys, loaders, report, usage, warming
from outrider.cache.agenda import Agenda
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.loaders import Loader
from outrider.cache.patterns import NamespaceUse, Recorder
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.cache.usage import Tally, Use
from outrider.errors import BadArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

NOW_S = 1_700_000_000.0
BOT = """
import os
import outrider

@outrider.cached(ttl_s=60, namespace="prices")
async def price(symbol: str, *, depth: int = 1) -> dict:
    return {"symbol": symbol, "depth": depth, "pid": os.getpid()}

@outrider.cached(ttl_s=60, namespace="broken")
def broken(symbol: str) -> dict:
    raise LookupError("no such symbol")

@outrider.cached(ttl_s=60, namespace="odd")
def odd(symbol: str) -> tuple:
    return object()

def helper(symbol: str) -> str:
    raise SystemExit("must never run")
"""
WORKER = """
import json, sys
from outrider.cache import agenda, warming
from outrider.store import connection

class Clock:
    at_s = float(sys.argv[2])
    def now(self): return self.at_s
    def monotonic(self): return self.at_s

with connection.connect(sys.argv[1]) as client:
    allowed = sys.argv[3].split(",")
    planned = warming.plan(
        client, agenda.Agenda(), now_s=Clock.at_s, every_s=40, budget_of=lambda name: 0.5,
        allowed=allowed,
    )
    done = None
    for due in planned.by_workers:
        Clock.at_s = due.at_s
        done = warming.run(
            client, [due[:2]], allowed=allowed, clock=Clock(), token=planned.token
        )
    print(json.dumps([planned.by_workers, done and done.warmed, done and done.failed]))
"""


@pytest.fixture
def recorder(client: redis.Redis, clock: Any) -> Iterator[Recorder]:
    made = Recorder(client, clock=clock, flush_s=3600)
    yield made
    made.close()


@pytest.fixture
def bots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of cached functions that can be imported here and in a worker."""
    name = "bots_under_test"
    (tmp_path / f"{name}.py").write_text(BOT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield name
    sys.modules.pop(name, None)
    for namespace in ("prices", "broken", "odd"):
        loaders._BY_NAMESPACE.pop(namespace, None)


def polled(use: NamespaceUse, *args: Any, loads: int = 40, **kwargs: Any) -> str:
    """Note visits every 90 s, the last one 59.7 s ago: its value has 0.3 s left to live."""
    call = canonical(args, kwargs)
    for back in range(15, -1, -1):
        use.touch(call, NOW_S - 59.7 - 90 * back)
    for _ in range(loads):
        use.loaded(call.key, NOW_S + 0.3)
    return call.key


def work(url: str, *, allowed: str) -> Any:
    """Plan and run in another process."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, url, str(NOW_S + 25), allowed],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def planned(
    client: redis.Redis, agenda: Agenda, now_s: float, *, allowed: str = "bots", every_s: float = 40
) -> warming.Planned:
    return warming.plan(
        client, agenda, now_s=now_s, every_s=every_s, budget_of=lambda _: 0.5, allowed=(allowed,)
    )


def test_another_process_reloads_what_has_expired_just_before_it_is_asked_for(
    recorder: Recorder, valkey_url: str, client: redis.Redis, bots: str, clock: Any
) -> None:
    use = recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60)
    key = polled(use, "BTC", depth=5)
    recorder.flush()

    [[due], warmed, failed] = work(valkey_url, allowed=bots)
    assert (due[:2], warmed, failed) == (["prices", key], 1, [])
    assert due[2] == pytest.approx(NOW_S + 30, abs=2)

    # The bot, 30.3 s later: the old value is gone, and nothing has to be loaded.
    clock.advance(30.3)
    tier = RedisTier(valkey_url)
    cache = TieredCache(
        "prices", ttl_s=60, codec=Codec("f", dict), remote=tier, use=use, clock=clock
    )
    call = canonical(("BTC",), {"depth": 5})
    found = [cache.load(call, pytest.fail) for _ in range(2)]
    assert found[0] == found[1]
    assert (found[0]["symbol"], found[0]["depth"]) == ("BTC", 5)
    assert found[0]["pid"] != os.getpid()
    assert (cache.statistics.warmed_hits, cache.statistics.misses) == (1, 0)
    recorder.flush()
    assert usage.tally(client, "prices", NOW_S) == Tally(40, 1, 1)
    assert usage.read(client, "prices")[key].expires_s == pytest.approx(due[2] + 60)
    tier.close()


def test_a_hit_before_the_old_value_would_have_expired_owes_nothing_to_warming(
    recorder: Recorder, valkey_url: str, client: redis.Redis, bots: str, clock: Any
) -> None:
    use = recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60)
    key = polled(use, "BTC", depth=5)
    recorder.flush()
    warming.run(client, [("prices", key)], allowed=(bots,), clock=clock)
    tier = RedisTier(valkey_url)
    cache = TieredCache(
        "prices", ttl_s=60, codec=Codec("f", dict), remote=tier, use=use, clock=clock
    )
    call = canonical(("BTC",), {"depth": 5})
    cache.load(call, pytest.fail)
    assert cache.statistics.warmed_hits == 0
    clock.advance(0.3)
    cache.load(call, pytest.fail)
    assert cache.statistics.warmed_hits == 1
    tier.close()


def test_a_second_plan_of_the_same_moment_is_empty(recorder: Recorder, client: redis.Redis) -> None:
    key = polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    first = planned(client, Agenda(), NOW_S + 25)
    assert [due[:2] for due in first.by_workers] == [("prices", key)]
    assert planned(client, Agenda(), NOW_S + 25.4) == warming.Planned()


def test_a_process_that_takes_over_knows_what_was_planned(
    recorder: Recorder, client: redis.Redis
) -> None:
    polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    first = planned(client, Agenda(), NOW_S + 25)
    assert len(first.by_workers) == 1
    assert planned(client, Agenda(), NOW_S + 29).by_workers == []
    assert client.hget(keys.plan("prices"), "ahead") == b"1"


def test_a_plan_of_its_own_is_not_counted_twice(recorder: Recorder, client: redis.Redis) -> None:
    polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    agenda = Agenda()
    for later_s in (25, 27, 29):
        planned(client, agenda, NOW_S + later_s)
    assert client.hget(keys.plan("prices"), "ahead") == b"1"


def test_a_use_that_is_told_of_late_breaks_nothing(recorder: Recorder, client: redis.Redis) -> None:
    use = recorder.namespace("prices", loader="bots:price", ttl_s=60)
    agenda = Agenda()
    for step in range(60):
        at_s = NOW_S + 7 * step
        for number in range(4):
            use.touch(canonical((number,), {}), at_s - 5 * (number % 2))
        recorder.flush()
        planned(client, agenda, at_s + 1, every_s=10)
    assert int(client.hget(keys.plan("prices"), "demand") or 0) > 20


def test_a_namespace_whose_values_live_shortly_is_planned_more_often_than_beat_does(
    recorder: Recorder, client: redis.Redis
) -> None:
    polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    assert planned(client, Agenda(), NOW_S, every_s=40).next_s == 6.0
    assert planned(client, Agenda(), NOW_S + 10, every_s=5).next_s is None
    assert warming.out_of_turn(client, 6.0)
    assert not warming.out_of_turn(client, 6.0)


def test_what_workers_may_not_load_is_left_for_the_bots(
    recorder: Recorder, client: redis.Redis
) -> None:
    key = polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    found = planned(client, Agenda(), NOW_S + 25, allowed="others")
    assert found.by_workers == []
    [due] = found.by_bots
    assert client.zscore(keys.due("prices"), key) == due.at_s


def test_a_namespace_without_budget_is_not_warmed_and_says_so(
    recorder: Recorder, client: redis.Redis
) -> None:
    polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    found = warming.plan(
        client, Agenda(), now_s=NOW_S + 25, every_s=40, budget_of=lambda _: 0.0, allowed=("bots",)
    )
    assert found.by_workers == []
    assert client.hget(keys.plan("prices"), "off") == b"the budget is 0"


def test_a_batch_that_comes_too_late_is_left(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    key = polled(recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60), "BTC", depth=1)
    recorder.flush()
    done = warming.run(
        client, [("prices", key)], allowed=(bots,), clock=clock, deadline_s=NOW_S - 1
    )
    assert (done.late, done.warmed) == (1, 0)


def test_a_stale_task_does_not_overwrite_newer_data(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    key = polled(recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60), "BTC", depth=1)
    recorder.flush()
    name = keys.value("prices", key)

    def outcome(token: int) -> tuple[int, int]:
        done = warming.run(
            client, [("prices", key)], allowed=(bots,), clock=clock, even_if_fresh=True, token=token
        )
        return done.warmed, done.fenced

    assert outcome(7) == (1, 0)
    newest = client.get(name)
    assert outcome(6) == (0, 1)  # planned earlier, came later
    assert client.get(name) == newest
    assert outcome(8) == (1, 0)


@pytest.mark.parametrize(("seen", "there"), [(b"old", b"newer"), (b"old", None)])
def test_what_changed_while_it_was_loaded_is_not_overwritten(
    seen: bytes, there: bytes | None, client: redis.Redis, clock: Any
) -> None:
    """A bot wrote a newer value, or invalidated it."""
    if there is not None:
        client.set(keys.value("prices", "k"), there)
    with pytest.raises(warming.Fenced):
        warming.keep(
            client, "prices", "k", b"loaded", ttl_s=60, seen=seen,
            use=Use(ttl_s=60, expires_s=NOW_S + 20), clock=clock, token=1,
        )  # fmt: skip
    assert client.get(keys.value("prices", "k")) == there


def test_a_value_that_expired_while_it_was_loaded_is_replaced(
    client: redis.Redis, clock: Any
) -> None:
    warming.keep(
        client, "prices", "k", b"loaded", ttl_s=60, seen=b"old",
        use=Use(ttl_s=60, expires_s=NOW_S - 1), clock=clock, token=1,
    )  # fmt: skip
    assert client.get(keys.value("prices", "k")) == b"loaded"


def test_a_loader_of_another_version_is_refused(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    use = recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60, version="2")
    key = polled(use, "BTC", depth=1)
    recorder.flush()
    done = warming.run(client, [("prices", key)], allowed=(bots,), clock=clock)
    assert "is of version '' here, and '2' was asked for" in done.failed[0]["error"]


def test_a_bot_is_asked_for_what_workers_may_not_load(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary-2")
    importlib.import_module(bots)
    key = polled(recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60), "BTC", depth=3)
    recorder.flush()
    asked: list[str] = []

    def ask(bot: str, loader: str, arguments: bytes, deadline_s: float) -> bytes:
        asked.append(bot)
        request = asking.Request(loader, arguments, deadline_s)
        return asking.serve(request, clock=clock)

    done = warming.run(client, [("prices", key)], allowed=(), clock=clock, ask=ask)
    assert (done.warmed, done.failed, asked) == (1, [], ["canary-2"])
    kept = client.get(keys.value("prices", key))
    assert isinstance(kept, bytes)
    assert Codec("f", dict).decode(kept).value["depth"] == 3


def test_a_bot_refuses_what_it_does_not_know_or_is_asked_too_late(bots: str, clock: Any) -> None:
    importlib.import_module(bots)
    fine = asking.arguments(["BTC"], {})
    known = asking.name("prices", f"{bots}:price", "")
    for loader, arguments, error in (
        (asking.name("prices", "os:system", ""), fine, BadArgument),
        (asking.name("prices", f"{bots}:price", "9"), fine, BadArgument),
        (known, b"\xc1", BadArgument),
    ):
        with pytest.raises(error):
            asking.serve(asking.Request(loader, arguments, NOW_S + 9), clock=clock)
    with pytest.raises(TimeoutError):
        asking.serve(asking.Request(known, fine, NOW_S), clock=clock)


def test_a_batch_that_is_delivered_twice_loads_once(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    key = polled(recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60), "BTC", depth=1)
    recorder.flush()
    batch = [["prices", key]]
    runs = [warming.run(client, batch, allowed=(bots,), clock=clock) for _ in range(2)]
    assert [run.warmed for run in runs] == [1, 0]
    forced = warming.run(client, batch, allowed=(bots,), clock=clock, even_if_fresh=True)
    assert forced.warmed == 1


def test_a_loader_that_fails_is_reported_and_does_not_stop_the_rest(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    for namespace, function in (("broken", "broken"), ("odd", "odd"), ("prices", "price")):
        polled(recorder.namespace(namespace, loader=f"{bots}:{function}", ttl_s=60), "BTC")
    recorder.flush()
    wanted = [("broken", '["BTC"]'), ("odd", '["BTC"]'), ("prices", '["BTC"]'), ("none", "[]")]
    done = warming.run(client, wanted, allowed=(bots,), clock=clock)
    assert done.warmed == 1
    assert [failed["namespace"] for failed in done.failed] == ["broken", "odd", "none"]
    assert "no such symbol" in done.failed[0]["error"]
    assert "odd returned a object" in done.failed[1]["error"]
    assert "no use of" in done.failed[2]["error"]
    assert not client.exists(keys.value("broken", '["BTC"]'))


@pytest.mark.parametrize(
    ("loader", "namespace", "message"),
    [
        ("os:system", "prices", "'os:system' may not be loaded here"),
        ("bots_under_test.os:system", "prices", "may not be loaded here"),
        ("bots_under_test:helper", "prices", "is no loader of namespace 'prices'"),
        ("bots_under_test:price", "broken", "is no loader of namespace 'broken'"),
        ("bots_under_test:price", "others", "is no loader of namespace 'others'"),
        ("gone_module:price", "prices", "can't be imported"),
    ],
)
def test_what_is_not_a_registered_loader_of_an_allowed_module_is_refused(
    loader: str, namespace: str, message: str, *, client: redis.Redis, bots: str, clock: Any
) -> None:
    use = Use(loader=loader, args=["true"], ttl_s=60)
    with pytest.raises(BadArgument, match=message):
        warming.reload(client, namespace, "[]", use, allowed=(bots, "gone_module"), clock=clock)


def test_a_call_that_json_cannot_carry_is_refused(
    client: redis.Redis, bots: str, clock: Any
) -> None:
    use = Use(loader=f"{bots}:price", args=None, ttl_s=60)
    with pytest.raises(BadArgument, match="JSON can't carry"):
        warming.reload(client, "prices", "[]", use, allowed=(bots,), clock=clock)


def test_a_namespace_belongs_to_one_function() -> None:
    def loader(name: str) -> Loader:
        return Loader(name, print, "namespace of one", 60.0, lambda: Codec("f"))

    one = loader("a:f")
    loaders.register(one)
    again = loader("a:f")  # a module that was reloaded
    loaders.register(again)
    with pytest.raises(BadArgument, match="is taken by a:f"):
        loaders.register(loader("b:g"))


def test_the_report_tells_how_each_cache_is_used(recorder: Recorder, client: redis.Redis) -> None:
    prices = recorder.namespace("prices", loader="bots:price", ttl_s=60)
    for number in range(2):
        polled(prices, number, loads=10)
    recorder.namespace("alone", loader="", ttl_s=5).touch(canonical((), {}), NOW_S)
    recorder.flush()
    alone, polls = report.effectiveness(client, now_s=NOW_S)
    assert polls == {
        "namespace": "prices", "keys": 2, "uses": 32, "repeatable": 2, "loader": "bots:price",
        "ttl_s": 60.0, "gap_s": 90.0, "expected_reuse": pytest.approx(60 / 90), "loads": 20,
        "warmed": 0, "warmed_hits": 0, "ahead": None,
    }  # fmt: skip
    assert (alone["namespace"], alone["loader"], alone["expected_reuse"]) == ("alone", None, None)
