from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import outrider
from outrider.cache import shared, usage
from outrider.errors import BadArgument
from outrider.metrics import frame
from outrider.sdk import bot as bot_module
from outrider.sdk.bot import Bot
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No Redis and no bot, unless a test asks for them."""
    monkeypatch.delenv("OUTRIDER_REDIS_URL", raising=False)
    monkeypatch.setattr(bot_module, "_CURRENT", [])
    yield
    shared.close_all()


@pytest.fixture
def redis_url(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    return valkey_url


def test_a_function_is_called_once_for_the_same_arguments() -> None:
    calls = []

    @outrider.cached(ttl_s=60, namespace="sync.once")
    def add(a: int, b: int = 2) -> int:
        calls.append((a, b))
        return a + b

    assert [add(1), add(1, 2), add(b=2, a=1), add(2)] == [3, 3, 3, 4]
    assert calls == [(1, 2), (2, 2)]


def test_a_coroutine_function_is_called_once_for_the_same_arguments() -> None:
    calls = []

    @outrider.cached(ttl_s=60, namespace="async.once")
    async def add(a: int, b: int = 2) -> int:
        calls.append((a, b))
        return a + b

    async def main() -> list[int]:
        return [await add(1), await add(1, 2), await add(b=2, a=1)]

    assert asyncio.run(main()) == [3, 3, 3]
    assert calls == [(1, 2)]


def test_none_is_cached() -> None:
    calls = []

    @outrider.cached(ttl_s=60, namespace="sync.none")
    def nothing() -> None:
        calls.append(1)

    nothing()
    nothing()
    assert calls == [1]


def test_metadata_and_colour_are_preserved() -> None:
    @outrider.cached(ttl_s=60, namespace="meta.sync")
    def one(a: int) -> int:
        """Say one."""
        return a

    @outrider.cached(ttl_s=60, namespace="meta.async")
    async def other(a: int) -> int:
        return a

    assert (one.__name__, one.__doc__) == ("one", "Say one.")
    assert str(inspect.signature(one)) == "(a: 'int') -> 'int'"
    assert not inspect.iscoroutinefunction(one)
    assert inspect.iscoroutinefunction(other)
    assert one.__wrapped__(5) == 5


def test_invalidate_refresh_and_peek_work_on_one_call() -> None:
    numbers = iter(range(10))

    @outrider.cached(ttl_s=60, namespace="sync.methods")
    def number(name: str) -> int:
        return next(numbers)

    assert number.peek("a") is None
    assert (number("a"), number("b")) == (0, 1)
    assert number.peek("a") == 0
    number.invalidate("a")
    assert (number("a"), number("b")) == (2, 1)
    assert number.refresh("b") == 3
    assert number("b") == 3
    assert number.stats()["loads"] == 4


def test_invalidate_refresh_and_peek_of_a_coroutine_function_are_awaited() -> None:
    numbers = iter(range(10))

    @outrider.cached(ttl_s=60, namespace="async.methods")
    async def number(name: str) -> int:
        return next(numbers)

    async def main() -> list[int | None]:
        first = await number("a")
        await number.invalidate("a")
        return [first, await number("a"), await number.refresh("a"), await number.peek("a")]

    assert asyncio.run(main()) == [0, 1, 2, 2]


def test_a_hundred_threads_that_miss_one_key_load_once() -> None:
    loads, results, everybody = [], [], threading.Barrier(100)

    @outrider.cached(ttl_s=60, namespace="sync.flight")
    def slow(name: str) -> str:
        loads.append(name)
        until_waits(99)
        return name

    def until_waits(count: int) -> None:
        done = threading.Event()
        while slow.stats()["waits"] < count:
            assert not done.wait(0.001)

    def ask() -> None:
        everybody.wait()
        results.append(slow("k"))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["k"]
    assert results == ["k"] * 100


@pytest.mark.parametrize("with_redis", [False, True])
def test_a_hundred_tasks_that_miss_one_key_load_once(
    *, with_redis: bool, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_redis:
        monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    loads = []

    @outrider.cached(ttl_s=60, namespace=f"async.flight.{with_redis}")
    async def slow(name: str) -> str:
        loads.append(name)
        await asyncio.sleep(0)
        return name

    async def main() -> list[str]:
        return await asyncio.gather(*(slow("k") for _ in range(100)))

    assert asyncio.run(main()) == ["k"] * 100
    assert loads == ["k"]
    assert slow.stats()["waits"] == 99


def test_values_are_shared_with_another_process_through_redis(redis_url: str) -> None:
    code = (
        "import outrider, os\n"
        "def pid(name: str) -> int: return os.getpid()\n"
        "cached = outrider.cached(ttl_s=60, namespace='shared.pid')(pid)\n"
        "print(cached('k'))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    @outrider.cached(ttl_s=60, namespace="shared.pid")
    def pid(name: str) -> int:
        return os.getpid()

    assert pid("k") == int(found) != os.getpid()
    assert (pid.stats()["hits_redis"], pid.stats()["loads"]) == (1, 0)


def test_a_process_that_ends_leaves_its_use_in_redis(redis_url: str) -> None:
    code = (
        "import outrider\n"
        "@outrider.cached(ttl_s=60, namespace='left.behind')\n"
        "def load(name: str) -> str: return name\n"
        "load('a'); load('a'); load('b')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with connection.connect(redis_url) as client:
        uses = usage.read(client, "left.behind")
    assert {key: use.uses for key, use in uses.items()} == {'["a"]': 2, '["b"]': 1}


def test_a_forked_child_has_a_cache_of_its_own(redis_url: str) -> None:
    @outrider.cached(ttl_s=60, namespace="forked")
    def load(name: str) -> str:
        return name

    load("a")
    child = os.fork()
    if child == 0:
        good = load("a") == "a" and load("b") == "b"
        stats = load.stats()
        os._exit(0 if good and (stats["hits_redis"], stats["loads"]) == (1, 1) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert load("a") == "a"
    assert load.stats()["hits_memory"] == 1


def test_the_bot_reports_the_cache_even_when_made_after_the_first_call() -> None:
    @outrider.cached(ttl_s=60, namespace="profiles")
    def profile(user_id: int) -> dict[str, int]:
        return {"id": user_id}

    profile(1)
    frames: list[bytes] = []

    def send(message: bytes) -> bool:
        frames.append(message)
        return True

    reporter = Bot("canary", transport=send)
    profile(1)
    profile(1)
    profile(2)
    reporter.flush()
    gauges = frame.decode(frames[-1]).gauges
    assert (gauges["cache.profiles.hits_total"], gauges["cache.profiles.misses_total"]) == (2, 2)
    assert gauges["cache.profiles.hit_ratio"] == 0.5
    assert gauges["cache.profiles.loads_total"] == 2
    assert gauges["cache.profiles.entries"] == 2
    assert gauges["cache.profiles.warmed_hits_total"] == 0
    assert len(reporter._sources) == 1


def test_the_default_namespace_is_the_functions_full_name() -> None:
    code = "import outrider.sdk.cached as c, sample; print(sample.f.stats()['hits'])"
    source = "import outrider\n@outrider.cached(ttl_s=1)\ndef f(a): return a\n"
    check = (
        "import sys, types; m = types.ModuleType('sample'); sys.modules['sample'] = m\n"
        f"exec({source!r}, m.__dict__)\n{code}\n"
        "from outrider.cache import loaders; print(*loaders._BY_NAMESPACE)"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == ["0", "sample.f"]


def test_a_module_that_was_started_is_named_as_others_would_import_it(tmp_path: Any) -> None:
    (tmp_path / "market.py").write_text(
        "import outrider\n@outrider.cached(ttl_s=1)\ndef price(a): return a\n"
        "from outrider.cache import loaders\n"
        "print(*(loader.name for loader in loaders._BY_NAMESPACE.values()))\n"
    )
    for command in (["market.py"], ["-m", "market"]):
        found = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        assert found == "market:price\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ttl_s": 0}, "ttl_s = 0"),
        ({"ttl_s": float("nan")}, "ttl_s = nan"),
        ({"ttl_s": float("inf")}, "ttl_s = inf"),
        ({"ttl_s": 1, "capacity": 0}, "capacity = 0"),
        ({"ttl_s": 1, "namespace": "a b"}, "namespace = 'a b'"),
        ({"ttl_s": 1}, "<locals>"),
        ({"ttl_s": len}, "needs a time to live"),
    ],
)
def test_values_out_of_range_are_refused_where_they_are_written(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadArgument, match=message):

        @outrider.cached(**values)
        def load(name: str) -> str:
            return name


def test_a_method_is_refused_at_its_first_call() -> None:
    class Shop:
        @outrider.cached(ttl_s=1, namespace="shop.price")
        def price(self, name: str) -> int:
            return 1

    with pytest.raises(BadArgument, match=r"argument 'self' of .*key=.\{self\.id\}"):
        Shop().price("apple")


def test_two_functions_cannot_share_a_namespace() -> None:
    @outrider.cached(ttl_s=1, namespace="contested")
    def one() -> int:
        return 1

    with pytest.raises(BadArgument, match=r"'contested' .* is taken by"):

        @outrider.cached(ttl_s=1, namespace="contested")
        def other() -> int:
            return 2

    assert one() == 1


def test_decorating_imports_neither_redis_nor_msgspec_nor_numpy() -> None:
    code = (
        "import sys, outrider\n"
        "@outrider.cached(ttl_s=1, namespace='n')\n"
        "def f(): return 1\n"
        "print(*({'redis', 'msgspec', 'numpy', 'sqlalchemy', 'asyncio'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == ""


def test_hits_are_counted_though_they_pass_the_cache_by() -> None:
    @outrider.cached(ttl_s=60, namespace="counted")
    def load(name: str) -> str:
        return name

    for _ in range(1000):
        load("a")
    numbers = load.stats()
    assert (numbers["hits"], numbers["hits_memory"], numbers["misses"]) == (999, 999, 1)
    assert load.stats() == numbers


def test_a_hit_asks_the_cache_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from outrider.cache.tiered import TieredCache

    asked = []
    ask = TieredCache.load

    def load_counted(self: TieredCache, call: Any, loader: Any) -> Any:
        asked.append(call.key)
        return ask(self, call, loader)

    monkeypatch.setattr(TieredCache, "load", load_counted)

    @outrider.cached(ttl_s=60, namespace="passed.by")
    def load(name: Any) -> str:
        return str(name)

    assert [load("a") for _ in range(5)] == ["a"] * 5
    assert asked == ['["a"]']
    assert [load(["a"]) for _ in range(2)] == ["['a']"] * 2  # can't be looked up without a key
    assert len(asked) == 3


def test_uses_that_pass_the_cache_by_reach_the_usage_patterns(redis_url: str) -> None:
    code = (
        "import outrider\n"
        "@outrider.cached(ttl_s=60, namespace='learned.from')\n"
        "def load(name: str) -> str: return name\n"
        "for _ in range(500): load('a')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with connection.connect(redis_url) as client:
        uses = usage.read(client, "learned.from")
    assert uses['["a"]'].uses == 500


def test_an_expired_value_is_loaded_again_though_hits_read_no_clock() -> None:
    numbers = iter(range(10))

    @outrider.cached(ttl_s=0.05, namespace="short.lived")
    def number(name: str) -> int:
        return next(numbers)

    assert [number("a"), number("a")] == [0, 0]
    waiting, tries = threading.Event(), 0
    while number("a") == 0:
        waiting.wait(0.005)
        tries += 1
        assert tries < 2000
    assert number.peek("a") in (1, None)


def test_true_one_and_one_point_nought_are_three_calls() -> None:
    @outrider.cached(ttl_s=60, namespace="told.apart")
    def load(value: float) -> str:
        return repr(value)

    for _ in range(3):
        assert [load(1), load(True), load(1.0), load(0.0), load(-0.0)] == [
            "1", "True", "1.0", "0.0", "-0.0",
        ]  # fmt: skip


class User:
    def __init__(self, number: int) -> None:
        self.id = number


def test_a_key_says_what_identifies_a_call() -> None:
    calls = []

    @outrider.cached(ttl_s=60, namespace="keyed", key="user:{user.id}")
    def profile(user: User, session: object = None) -> int:
        calls.append(user.id)
        return user.id

    assert [profile(User(1)), profile(User(1), object()), profile(user=User(2))] == [1, 1, 2]
    assert calls == [1, 2]
    assert profile.explain(User(1))["key"] == "user:1"
    profile.invalidate(User(1))
    profile(User(1))
    assert calls == [1, 2, 1]


def test_a_key_may_be_a_function_of_the_arguments() -> None:
    calls = []

    @outrider.cached(ttl_s=60, namespace="keyed.function", key=lambda name: name.lower())
    def load(name: str) -> str:
        calls.append(name)
        return name

    assert [load("A"), load("a"), load("A"), load("a")] == ["A"] * 4
    assert calls == ["A"]


def test_a_method_is_cached_by_what_its_key_says() -> None:
    calls = []

    class Shop:
        def __init__(self, number: int) -> None:
            self.number = number

        @outrider.cached(ttl_s=60, namespace="shop.prices", key="{self.number}:{name}")
        def price(self, name: str) -> int:
            calls.append((self.number, name))
            return self.number

    one, other = Shop(1), Shop(2)
    for _ in range(2):
        assert [one.price("apple"), other.price("apple"), Shop(1).price("apple")] == [1, 2, 1]
    assert calls == [(1, "apple"), (2, "apple")]
    Shop.price.invalidate(one, "apple")
    one.price("apple")
    assert len(calls) == 3


@pytest.mark.parametrize("what", ["key", "tags"])
def test_a_template_that_names_no_parameter_is_refused_at_once(what: str) -> None:
    template: Any = "{usr.id}" if what == "key" else ["{usr.id}"]
    with pytest.raises(BadArgument, match=r"names 'usr', which is no parameter; use \{user\}"):

        @outrider.cached(ttl_s=60, namespace="misspelt", **{what: template})
        def load(user: User) -> int:
            return user.id


def test_the_values_of_another_loader_version_are_loaded_anew(redis_url: str) -> None:
    def decorated(version: int) -> Any:
        def load(name: str) -> int:
            return version

        return outrider.cached(ttl_s=60, namespace="versions", loader_version=version)(load)

    assert decorated(1)("a") == 1
    assert decorated(1)("a") == 1
    newer = decorated(2)
    assert newer("a") == 2
    assert newer.stats()["unreadable"] + newer.stats()["misses"] >= 1


def test_explain_says_where_a_value_is() -> None:
    @outrider.cached(ttl_s=60, namespace="explained")
    def load(name: str) -> str:
        return name

    before = load.explain("a")
    assert (before["key"], before["in_memory"]) == ('["a"]', False)
    load("a")
    after = load.explain("a")
    assert (after["in_memory"], after["is_shown"]) == (True, True)
    assert 50 < after["expires_in_s"] <= 60


def test_explain_of_a_coroutine_function_is_awaited() -> None:
    @outrider.cached(ttl_s=60, namespace="explained.async")
    async def load(name: str) -> str:
        return name

    async def main() -> dict[str, Any]:
        await load("a")
        return await load.explain("a")

    assert asyncio.run(main())["in_memory"] is True


def test_what_more_memory_would_give_is_told() -> None:
    @outrider.cached(ttl_s=60, namespace="what.if", capacity=50)
    def load(number: int) -> int:
        return number

    for number in [each for _ in range(30) for each in range(80)]:
        load(number)
    assert load.what_if()[2.0] > load.stats()["hit_ratio"] + 0.2
    assert set(load.what_if(0.5, 4)) == {0.5, 4}


def test_threads_that_hit_and_invalidate_never_see_a_value_from_before() -> None:
    """A hit passes the cache by, yet what was invalidated before the call is not returned."""
    newest = [0]

    @outrider.cached(ttl_s=60, namespace="stressed")
    def read(name: str) -> int:
        return newest[0]

    wrong: list[tuple[int, int]] = []
    ended = threading.Event()

    def reader() -> None:
        while not ended.is_set():
            at_least = newest[1] if len(newest) > 1 else 0
            found = read("a")
            if found < at_least:
                wrong.append((found, at_least))

    newest.append(0)  # [the source, what every reader has been told of]
    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 400):
        newest[0] = number
        read.invalidate("a")
        newest[1] = number
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_values_are_invalidated_together_by_tag_or_all() -> None:
    loads: list[str] = []

    @outrider.cached(ttl_s=60, namespace="tagged", tags=["shop:{shop}"])
    def price(shop: int, name: str) -> int:
        loads.append(f"{shop} {name}")
        return shop

    def ask() -> list[str]:
        loads.clear()
        for shop, name in ((1, "a"), (1, "b"), (2, "a")):
            price(shop, name)
        return list(loads)

    assert ask() == ["1 a", "1 b", "2 a"]
    assert ask() == []
    price.invalidate_tag("shop:1")
    assert ask() == ["1 a", "1 b"]
    price.invalidate_all()
    assert ask() == ["1 a", "1 b", "2 a"]


def test_a_coroutine_functions_values_are_invalidated_by_tag() -> None:
    numbers = iter(range(10))

    @outrider.cached(ttl_s=60, namespace="tagged.async", tags=lambda name: [f"name:{name}"])
    async def number(name: str) -> int:
        return next(numbers)

    async def main() -> list[int]:
        first = [await number("a"), await number("b")]
        await number.invalidate_tag("name:a")
        return [*first, await number("a"), await number("b")]

    assert asyncio.run(main()) == [0, 1, 2, 1]
