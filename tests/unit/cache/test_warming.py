from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from outrider.cache import ahead, asking, keys, loaders, report, usage, warming
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
    from collections.abc import Iterator, Sequence
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
            client, [due[:2]], allowed=allowed, clock=Clock()
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
    tier = RedisTier(valkey_url, timeout_s=20.0)  # a busy machine is no outage here
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
    tier = RedisTier(valkey_url, timeout_s=20.0)  # a busy machine is no outage here
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


def test_a_key_that_is_being_loaded_is_left_to_who_does(
    recorder: Recorder, client: redis.Redis, bots: str, clock: Any
) -> None:
    key = polled(recorder.namespace("prices", loader=f"{bots}:price", ttl_s=60), "BTC", depth=1)
    recorder.flush()
    inner: list[warming.Warmed] = []

    def make() -> tuple[bytes, float]:
        inner.append(
            warming.run(client, [("prices", key)], allowed=(bots,), clock=clock, even_if_fresh=True)
        )
        return b"newest", 60.0

    assert ahead.load(client, "prices", key, fresh_s=30, make=make)
    assert (inner[0].warmed, inner[0].fenced) == (0, 1)
    assert client.get(keys.value("prices", key)) == b"newest"


@pytest.mark.parametrize("how", ["invalidate", "invalidate_tag", "invalidate_namespace"])
@pytest.mark.parametrize("version", ["", "2"])
def test_an_invalidation_during_a_load_ahead_wins(
    how: str, version: str, client: redis.Redis, valkey_url: str
) -> None:
    tier = RedisTier(valkey_url, timeout_s=20.0)  # a busy machine is no outage here
    cache = TieredCache(
        "prices", ttl_s=60, codec=Codec("f"), remote=tier, loader_version=version, tags=("all",)
    )
    key = canonical_key("k").key
    cache.set(key, "old")
    names = {"invalidate": (key,), "invalidate_tag": ("all",), "invalidate_namespace": ()}[how]

    def make() -> tuple[bytes, float]:
        getattr(cache, how)(*names)
        return Codec("f").encode("older than the invalidation", expires_s=2e9), 60.0

    with pytest.raises(ahead.Fenced):
        ahead.load(client, "prices", key, version=version, fresh_s=ahead.NEVER_FRESH_S, make=make)
    assert cache.get(key) is None
    assert cache.load(canonical_key("k"), lambda: "new") == "new"
    tier.close()


def test_whoever_misses_a_key_waits_for_its_load_ahead(
    client: redis.Redis, valkey_url: str
) -> None:
    tier = RedisTier(valkey_url, timeout_s=20.0)
    cache = TieredCache("prices", ttl_s=60, codec=Codec("f"), remote=tier)
    cache.get("k")  # connected
    found: list[Any] = []
    asked = threading.Thread(
        target=lambda: found.append(cache.load(canonical_key("k"), pytest.fail))
    )

    def make() -> tuple[bytes, float]:
        asked.start()
        while not cache.statistics.waits and asked.is_alive():
            time.sleep(0.001)
        return Codec("f").encode("ahead", expires_s=2e9), 60.0

    assert ahead.load(client, "prices", canonical_key("k").key, fresh_s=30, make=make)
    asked.join(20)
    assert found == ["ahead"]
    assert cache.statistics.loads == 0
    tier.close()


def test_a_load_ahead_that_fails_lets_others_load_at_once(client: redis.Redis) -> None:
    def fail() -> tuple[bytes, float]:
        raise LookupError("no such symbol")

    with pytest.raises(LookupError):
        ahead.load(client, "prices", "k", fresh_s=30, make=fail)
    assert not client.exists(keys.lease("prices", "k"))


@pytest.mark.parametrize("version", ["", "2"])
def test_a_warmed_value_is_served_after_a_flush_and_under_its_version(
    version: str, recorder: Recorder, client: redis.Redis, valkey_url: str, clock: Any
) -> None:
    tier = RedisTier(valkey_url, timeout_s=20.0)  # a busy machine is no outage here
    loader = Loader(
        "a:f", lambda key: f"warmed {key}", "flushed", 60.0,
        lambda: Codec("f", loader_version=version), version=version,
    )  # fmt: skip
    use = recorder.namespace("flushed", loader="a:f", ttl_s=60, version=version)
    cache = TieredCache(
        "flushed", ttl_s=60, codec=loader.codec(), remote=tier, use=use, clock=clock,
        loader_version=version,
    )  # fmt: skip
    cache.load(canonical_key("k"), lambda: "first")
    cache.invalidate_namespace()
    recorder.flush()
    use_of_key = warming.recorded(client, "flushed", canonical_key("k").key)
    name = canonical_key("k").key
    assert warming.present(client, "flushed", [name], version=version) == [False]
    assert warming.load(client, loader, name, use=use_of_key, clock=clock) is not None
    assert warming.present(client, "flushed", [name], version=version) == [True]
    assert warming.load(client, loader, name, use=use_of_key, clock=clock) is None  # fresh
    assert cache.load(canonical_key("k"), pytest.fail) == "warmed k"
    tier.close()


def test_that_nothing_was_there_lives_as_shortly_as_when_it_was_asked_for(
    client: redis.Redis, clock: Any
) -> None:
    loader = Loader("a:f", lambda: None, "absent", 60.0, lambda: Codec("f"), negative_s=2.0)
    warming.load(client, loader, "[]", use=Use(loader="a:f", args=[], ttl_s=60), clock=clock)
    assert 0 < int(client.pttl(keys.value("absent", "[]"))) <= 2000


def test_what_may_be_served_stale_is_kept_for_that_long(client: redis.Redis, clock: Any) -> None:
    loader = Loader("a:f", lambda: 1, "stale", 60.0, lambda: Codec("f"), stale_s=300.0)
    use = Use(loader="a:f", args=[], ttl_s=60)
    warming.load(client, loader, "[]", use=use, clock=clock)
    assert 300_000 < int(client.pttl(keys.value("stale", "[]"))) <= 360_000
    client.pexpire(keys.value("stale", "[]"), 325_000)  # 25 s of 60 are left
    assert warming.load(client, loader, "[]", use=use, clock=clock) is not None


def canonical_key(*args: Any) -> Any:
    return canonical(args, {})


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

    def ask(wanted: Sequence[tuple[str, asking.Request]]) -> list[asking.Answer]:
        asked.extend(bot for bot, _ in wanted)
        return [
            asking.serve(client, [], msgspec.to_builtins(request), clock=clock)
            for _, request in wanted
        ]

    done = warming.run(client, [("prices", key)], allowed=(), clock=clock, ask=ask)
    assert (done.warmed, done.failed, asked) == (1, [], ["canary-2"])
    kept = client.get(keys.value("prices", key))
    assert isinstance(kept, bytes)
    assert Codec("f", dict).decode(kept).value["depth"] == 3


def test_what_is_asked_of_a_bot_that_cannot_be_reached_is_left_for_it(
    recorder: Recorder, client: redis.Redis, clock: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OUTRIDER_BOT", "canary-2")
    key = polled(recorder.namespace("prices", loader="bots:price", ttl_s=60), "BTC")
    recorder.flush()
    done = warming.run(
        client, [("prices", key)], allowed=(), clock=clock,
        ask=lambda wanted: [asking.Answer("nobody") for _ in wanted],
    )  # fmt: skip
    assert (done.left, done.warmed, done.failed) == (1, 0, [])
    assert client.zscore(keys.due("prices"), key) == NOW_S


def test_a_bot_refuses_what_it_does_not_know_or_is_asked_too_late(
    client: redis.Redis, bots: str, clock: Any
) -> None:
    importlib.import_module(bots)
    fine = {
        "namespace": "prices", "key": "k", "loader": f"{bots}:price", "deadline_s": NOW_S + 9,
    }  # fmt: skip
    for wrong in ({"loader": "os:system"}, {"version": "9"}, {"key": 1}, {"deadline_s": None}):
        with pytest.raises(BadArgument):
            asking.serve(client, [], fine | wrong, clock=clock)
    late = asking.serve(client, [], fine | {"deadline_s": NOW_S}, clock=clock)
    assert late == asking.Answer("late")
    unknown = asking.serve(client, [], fine, clock=clock)
    assert unknown.outcome == "failed"
    assert "no use of 'k' is recorded" in unknown.error


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
        "version": "", "ttl_s": 60.0, "gap_s": 90.0, "expected_reuse": pytest.approx(60 / 90),
        "loads": 20, "warmed": 0, "warmed_hits": 0, "ahead": None,
    }  # fmt: skip
    assert (alone["namespace"], alone["loader"], alone["expected_reuse"]) == ("alone", None, None)
