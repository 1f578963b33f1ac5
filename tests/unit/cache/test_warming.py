from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from outrider.cache import keys, loaders, report, usage, warming
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
from outrider.cache import warming
from outrider.store import connection

class Clock:
    def now(self): return float(sys.argv[2])
    def monotonic(self): return float(sys.argv[2])

with connection.connect(sys.argv[1]) as client:
    allowed = sys.argv[3].split(",")
    chosen = warming.plan(client, now_s=Clock().now(), budget=float(sys.argv[4]), allowed=allowed)
    done = warming.run(client, chosen, allowed=allowed, clock=Clock())
    print(json.dumps([chosen, done.warmed, done.failed]))
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
    for back in range(5, -1, -1):
        use.touch(call, NOW_S - 59.7 - 90 * back)
    for _ in range(loads):
        use.loaded(call.key, NOW_S + 0.3)
    return call.key


def work(url: str, *, allowed: str, budget: float = 0.05) -> Any:
    """Plan and run in another process."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, url, str(NOW_S), allowed, str(budget)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_another_process_reloads_what_is_about_to_expire_before_it_is_asked_for(
    recorder: Recorder, valkey_url: str, client: redis.Redis, bots: str, clock: Any
) -> None:
    use = recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60)
    key = polled(use, "BTC", depth=5)
    recorder.flush()

    assert work(valkey_url, allowed=bots) == [[["prices", key]], 1, []]

    # The bot, 30 s later: the old value is gone, and nothing has to be loaded.
    clock.advance(30.0)
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
    assert usage.read(client, "prices")[key].expires_s == NOW_S + 60
    tier.close()


def test_a_hit_before_the_old_value_would_have_expired_owes_nothing_to_warming(
    recorder: Recorder, valkey_url: str, bots: str, clock: Any
) -> None:
    use = recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60)
    polled(use, "BTC", depth=5)
    recorder.flush()
    work(valkey_url, allowed=bots)
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


def test_no_more_is_chosen_than_the_budget_has_room_for(
    recorder: Recorder, client: redis.Redis
) -> None:
    use = recorder.namespace("prices", loader="bots:price", ttl_s=60)
    for number in range(30):
        polled(use, number, loads=2)
    recorder.flush()
    uses, tally = usage.read(client, "prices"), usage.tally(client, "prices", NOW_S)

    def count(budget: float) -> int:
        found = warming.choose(uses, tally, now_s=NOW_S, until_s=NOW_S + 10, budget=budget)
        return len(found)

    assert tally.loads == 60
    assert [count(budget) for budget in (0.0, 0.05, 0.2, 1.0)] == [0, 3, 12, 30]


def test_keys_that_will_live_or_that_nobody_waits_for_are_not_chosen() -> None:
    steady = Use(
        loader="m:f", args=[], ttl_s=60, visits=20, visited_s=NOW_S - 59.7, gap_s=90.0,
        jitter_s=0.5, expires_s=NOW_S + 0.3,
    )  # fmt: skip

    def chosen(now_s: float, use: Use) -> list[str]:
        return warming.choose({"k": use}, Tally(1000), now_s=now_s, until_s=now_s + 10, budget=1.0)

    assert chosen(NOW_S, steady) == []  # too early: the next use is half a minute away
    assert chosen(NOW_S + 20, steady) == ["k"]
    assert chosen(NOW_S + 200, steady) == []  # the rhythm has ended
    for change in ({"args": None}, {"loader": ""}, {"visits": 2}, {"expires_s": NOW_S + 300}):
        other = Use(**{name: getattr(steady, name) for name in steady.__struct_fields__} | change)
        assert chosen(NOW_S + 20, other) == []


def test_a_second_plan_of_the_same_tick_is_empty(recorder: Recorder, client: redis.Redis) -> None:
    use = recorder.namespace("prices", loader="bots:price", ttl_s=60)
    key = polled(use, "BTC")
    recorder.flush()
    first, second = (
        warming.plan(client, now_s=NOW_S + later_s, budget=0.05, allowed=("bots",))
        for later_s in (0, 0.5)
    )
    assert first == [("prices", key)]
    assert second == []


def test_only_keys_of_allowed_modules_are_planned(recorder: Recorder, client: redis.Redis) -> None:
    polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    assert warming.plan(client, now_s=NOW_S, budget=0.05, allowed=("others",)) == []


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
        "namespace": "prices", "keys": 2, "uses": 12, "repeatable": 2, "loader": "bots:price",
        "ttl_s": 60.0, "gap_s": 90.0, "expected_reuse": pytest.approx(60 / 90), "loads": 20,
        "warmed": 0, "warmed_hits": 0,
    }  # fmt: skip
    assert (alone["namespace"], alone["loader"], alone["expected_reuse"]) == ("alone", None, None)
