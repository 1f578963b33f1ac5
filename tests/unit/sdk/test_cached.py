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
        Shop().price("apple")  # type: ignore[call-arg, arg-type]  # typed as the function it is


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
