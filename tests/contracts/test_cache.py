"""What caches on one server owe each other; ``OUTRIDER_TEST_REDIS_URL`` names one to try as well.

A given server may hold somebody's data: it is not flushed, and namespaces get names of their own.
Each cache here has a connection of its own, as one of another process would.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import redis

from outrider.cache import keys, space
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., TieredCache]

GIVEN = os.environ.get("OUTRIDER_TEST_REDIS_URL")
CALL, OTHER = canonical((1,), {}), canonical((2,), {})
PATIENT_S = 20.0  # a busy machine is no outage
USER, PASSWORD = "restricted", "secret"


@pytest.fixture(params=["valkey", *(["given"] if GIVEN else [])])
def url(request: pytest.FixtureRequest) -> str:
    return str(GIVEN if request.param == "given" else request.getfixturevalue("valkey_url"))


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with connection.connect(url) as connected:
        yield connected


@pytest.fixture
def namespace(client: redis.Redis) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    if found := list(client.scan_iter(match=f"or:cache:*:{name}*")):
        client.delete(*found)


@pytest.fixture
def restrict(url: str, client: Any) -> Iterator[Callable[..., str]]:
    """Return the address for a user with rules of its own."""

    def build(*rules: str) -> str:
        rights = (f">{PASSWORD}", "on", "~*", "&*", "+@all", *rules)
        client.execute_command("ACL", "SETUSER", USER, "reset", *rights)
        return url.replace("redis://", f"redis://{USER}:{PASSWORD}@")

    yield build
    client.execute_command("ACL", "DELUSER", USER)


@pytest.fixture
def make(url: str, namespace: str) -> Iterator[Make]:
    """Build caches as separate processes would have them."""
    opened: list[RedisTier] = []

    def build(at: str = "", **terms: Any) -> TieredCache:
        opened.append(RedisTier(at or url, timeout_s=PATIENT_S))
        terms = {"ttl_s": 60.0, "jitter": 0.0} | terms
        return TieredCache(namespace, codec=Codec("f"), remote=opened[-1], **terms)

    yield build
    for tier in opened:
        tier.close()


@pytest.fixture(params=["tracking", "channels"])
def pair(
    request: pytest.FixtureRequest, make: Make, restrict: Any
) -> tuple[TieredCache, TieredCache]:
    """Two caches: hearing by tracking, or by channels because tracking is refused."""
    at = "" if request.param == "tracking" else restrict("-client|tracking")
    one, other = make(at), make(at)
    for cache in (one, other):
        cache.get("nothing")
        assert hearing(cache) == request.param
    return one, other


def hearing(cache: TieredCache) -> str:
    assert cache._remote is not None
    return cache._remote.hearing.by


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def fail() -> Any:
    raise LookupError("gone")


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start work in a thread. Return what waits for its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()

    def result() -> Any:
        thread.join(20)
        return found[0]

    return result


def holds(cache: TieredCache, key: str = CALL.key) -> Any:
    held = cache.memory.get(key)
    return None if held is None else held.value


def hold(cache: TieredCache, value: str) -> None:
    """Read until memory has it: word of the write itself may come after its first reader."""
    until(lambda: cache.load(CALL, fail) == holds(cache) == value)


def test_ones_own_write_stays_in_memory(pair: tuple[TieredCache, TieredCache]) -> None:
    one, other = pair
    one.load(CALL, lambda: "value")
    other.invalidate(OTHER.key)
    one.get(OTHER.key)  # an answer that came after whatever was told of the write
    assert holds(one) == "value"


@pytest.mark.parametrize("change", ["invalidate", "set", "refresh"])
def test_memory_elsewhere_forgets_what_is_changed_here(
    change: str, pair: tuple[TieredCache, TieredCache]
) -> None:
    one, other = pair
    one.load(CALL, lambda: "old")
    hold(other, "old")
    if change == "invalidate":
        one.invalidate(CALL.key)
    elif change == "set":
        one.set(CALL.key, "new")
    else:
        one.refresh(CALL, lambda: "new")
    until(lambda: holds(other) is None)
    assert other.load(CALL, lambda: "new") == "new"


def test_a_tag_reaches_memory_elsewhere_and_redis(pair: tuple[TieredCache, TieredCache]) -> None:
    one, other = pair
    for cache in pair:
        cache.set("a", "old", tags=("user:1",))
        cache.set("b", "kept", tags=("user:2",))
    until(lambda: holds(other, "a") == "old")
    one.invalidate_tag("user:1")
    until(lambda: holds(other, "a") is None)
    assert [cache.get("a") for cache in pair] == [None, None]
    assert [cache.get("b") for cache in pair] == ["kept", "kept"]


def test_a_flush_of_the_namespace_reaches_memory_elsewhere_and_redis(
    pair: tuple[TieredCache, TieredCache],
) -> None:
    one, other = pair
    one.load(CALL, lambda: "old")
    hold(other, "old")
    one.invalidate_namespace()
    until(lambda: holds(other) is None)
    assert other.load(CALL, lambda: "new") == "new"
    assert one.load(CALL, fail) == "new"


def test_what_was_flushed_leaves_values_to_expire_by_themselves(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    one = make()
    one.load(CALL, lambda: "old")
    one.invalidate_namespace()
    assert client.exists(keys.value(namespace, CALL.key))
    one.load(CALL, lambda: "new")
    assert one.explain(CALL.key)["generation"].startswith("@")


@pytest.mark.parametrize("command", ["DEL", "SET", "EXPIRE"])
def test_a_change_by_whatever_client_is_heard(
    command: str, make: Make, client: redis.Redis, namespace: str
) -> None:
    cache = make()
    cache.load(CALL, lambda: "old")
    name = keys.value(namespace, CALL.key)
    if command == "DEL":
        client.delete(name)
    elif command == "SET":
        message = cache._filling.codec.encode("warmed", expires_s=time.time() + 60)
        client.set(name, message, px=60_000)
    else:
        client.pexpire(name, 1)
        until(lambda: cache.load(CALL, lambda: "new") == "new")
    until(lambda: holds(cache) != "old")
    expected = "warmed" if command == "SET" else "new"
    assert cache.load(CALL, lambda: "new") == expected


def test_a_tag_reaches_a_value_that_was_loaded_ahead_from_outside(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    cache = make(tags=("all",))
    cache.load(OTHER, lambda: "enrols the tag")
    name = keys.value(namespace, CALL.key, space.generation(client, namespace))
    codec = cache._filling.codec
    now_s = time.time()
    client.set(name, codec.encode("warmed", expires_s=now_s + 60, warmed_from_s=now_s), px=60_000)
    assert cache.load(CALL, fail) == "warmed"
    until(lambda: client.zscore(keys.tag(namespace, "all"), CALL.key))
    make().invalidate_tag("all")
    assert not client.exists(name)


def test_a_key_whose_value_outlives_its_note_keeps_its_tag(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    cache, tag = make(tags=("all",)), keys.tag(namespace, "all")
    cache.load(CALL, lambda: "value")
    client.zadd(tag, {CALL.key: 1, "gone": 1})  # noted until 1970
    cache.load(OTHER, lambda: "other")
    assert sorted(client.zrange(tag, 0, -1)) == [b"[1]", b"[2]"]
    cache.invalidate_tag("all")
    assert not client.exists(keys.value(namespace, CALL.key))


def test_a_value_invalidated_elsewhere_while_it_loads_is_kept_nowhere(
    pair: tuple[TieredCache, TieredCache], client: redis.Redis, namespace: str
) -> None:
    one, other = pair

    def load() -> str:
        other.invalidate(CALL.key)
        return "old"

    assert one.load(CALL, load) == "old"
    assert not client.exists(keys.value(namespace, CALL.key))
    assert holds(one) is None
    assert one.statistics.fenced == 1


def test_a_value_whose_tag_is_forgotten_elsewhere_while_it_loads_is_kept_nowhere(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    one, other = make(tags=("all",)), make(tags=("all",))

    def load() -> str:
        other.invalidate_tag("all")
        return "old"

    assert one.load(CALL, load) == "old"
    assert not client.exists(keys.value(namespace, CALL.key))
    assert holds(one) is None


def test_a_value_of_a_flushed_namespace_that_was_loading_is_kept_nowhere(make: Make) -> None:
    one, other = make(), make()

    def load() -> str:
        other.invalidate_namespace()
        return "old"

    assert one.load(CALL, load) == "old"
    assert one.get(CALL.key) is other.get(CALL.key) is None


def test_a_late_loader_does_not_overwrite_what_a_refresh_brought(make: Make) -> None:
    one, other = make(), make()

    def load() -> str:
        other.refresh(CALL, lambda: "new")
        return "old"

    assert one.load(CALL, load) == "old"
    assert one.get(CALL.key) == other.get(CALL.key) == "new"
    assert one.statistics.fenced == 1


def test_a_loader_whose_lease_was_lost_does_not_overwrite(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    one, other = make(), make()

    def load() -> str:
        client.delete(keys.lease(namespace, CALL.key))  # as if it had expired
        assert other.load(CALL, lambda: "new") == "new"
        return "old"

    one.load(CALL, load)
    assert one.get(CALL.key) == "new"


def test_who_waits_for_a_load_elsewhere_gets_its_value(
    pair: tuple[TieredCache, TieredCache],
) -> None:
    one, other = pair
    waits: list[Callable[[], Any]] = []

    def load() -> str:
        waits.append(in_thread(lambda: other.load(CALL, fail)))
        until(lambda: other.statistics.waits == 1)
        return "value"

    assert one.load(CALL, load) == "value"
    assert waits[0]() == "value"
    assert other.statistics.loads == 0
    until(lambda: other.get(CALL.key) == "value")


def test_who_waits_for_a_load_that_fails_elsewhere_loads(
    pair: tuple[TieredCache, TieredCache],
) -> None:
    one, other = pair
    waits: list[Callable[[], Any]] = []

    def load() -> None:
        waits.append(in_thread(lambda: other.load(CALL, lambda: "value")))
        until(lambda: other.statistics.waits == 1)
        fail()

    with pytest.raises(LookupError):
        one.load(CALL, load)
    assert waits[0]() == "value"


def test_tasks_and_threads_of_several_processes_load_once(make: Make) -> None:
    caches, loads = [make() for _ in range(3)], []
    everybody = threading.Barrier(6)

    def load() -> str:
        loads.append(1)
        time.sleep(0.05)
        return "value"

    async def load_async() -> str:
        loads.append(1)
        await asyncio.sleep(0.05)
        return "value"

    async def main(cache: TieredCache) -> list[Any]:
        return await asyncio.gather(*(cache.load_async(CALL, load_async) for _ in range(20)))

    def threads(cache: TieredCache) -> list[str]:
        everybody.wait()
        return [cache.load(CALL, load)]

    def tasks(cache: TieredCache) -> list[str]:
        everybody.wait()
        return asyncio.run(main(cache))

    waits = [in_thread(lambda c=c, w=w: w(c)) for c in caches for w in (threads, tasks)]  # type: ignore[misc]
    assert [value for each in waits for value in each()] == ["value"] * 63
    assert loads == [1]


def test_only_one_process_refreshes_a_stale_value(make: Make) -> None:
    one, other = (make(ttl_s=0.05, stale_s=60) for _ in range(2))
    one.set(CALL.key, "old")
    assert other.load(CALL, fail) == "old"
    time.sleep(0.1)
    may = threading.Event()

    def load() -> str:
        assert may.wait(20)
        return "new"

    assert one.load(CALL, load) == "old"
    until(lambda: one.explain(CALL.key)["lease_left_s"])
    assert other.load(CALL, fail) == "old"
    until(lambda: other.statistics.refreshes == 1 and CALL.key not in other._refreshes)
    may.set()
    until(lambda: one.statistics.loads == 1)
    until(lambda: other.load(CALL, fail) == "new")
    assert other.statistics.errors == 0


def test_loaders_of_two_versions_have_values_of_their_own_and_share_invalidations(
    make: Make,
) -> None:
    one, other = make(loader_version="1"), make(loader_version="2")
    assert one.load(CALL, lambda: "by one") == "by one"
    assert other.load(CALL, lambda: "by two") == "by two"
    assert one.load(CALL, fail) == "by one"
    hold(other, "by two")
    one.invalidate(CALL.key)
    until(lambda: holds(other) is None)
    assert other.load(CALL, lambda: "anew") == "anew"


def test_without_a_memory_tier_every_call_asks_redis(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    one, other = make(tier="redis"), make()
    one.load(CALL, lambda: "old")
    other.set(CALL.key, "new")
    assert one.load(CALL, fail) == "new"
    assert (len(one), one.statistics.hits_redis) == (0, 1)
    assert not client.exists(keys.lease(namespace, CALL.key))


def test_the_memory_tier_alone_does_not_touch_redis(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    make(tier="memory").load(CALL, lambda: "value")
    assert not client.exists(keys.value(namespace, CALL.key))


def test_caches_of_one_process_and_namespace_hear_of_each_other(make: Make, namespace: str) -> None:
    one = make()
    other = TieredCache(namespace, ttl_s=60, codec=Codec("f"), remote=one._remote)
    one.load(CALL, lambda: "old")
    assert other.load(CALL, fail) == "old"
    one.set(CALL.key, "new")
    assert other.load(CALL, fail) == "new"


def test_a_process_that_may_hear_nothing_keeps_values_for_a_second_at_most(
    make: Make, restrict: Any
) -> None:
    one = make(restrict("-client|tracking", "-subscribe"))
    one.load(CALL, lambda: "value")
    assert hearing(one) == "nothing"
    make().invalidate(CALL.key)
    until(lambda: holds(one) is None)
    assert one.load(CALL, lambda: "new") == "new"


def kill_connections(client: Any, cache: TieredCache) -> None:
    before = cache._remote.link.connections  # type: ignore[union-attr]
    for each in client.client_list():
        if each.get("resp") == "3":
            with contextlib.suppress(redis.ResponseError):
                client.execute_command("CLIENT", "KILL", "ID", each["id"])
    until(lambda: cache._remote.link.connections > before)  # type: ignore[union-attr]


def test_after_a_lost_connection_memory_is_empty_and_then_hears_again(
    make: Make, client: redis.Redis
) -> None:
    one, other = make(), make()
    one.load(CALL, lambda: "old")
    hold(other, "old")
    found = other.statistics.hits_redis
    kill_connections(client, other)
    hold(other, "old")
    assert other.statistics.hits_redis > found
    one.invalidate(CALL.key)
    until(lambda: holds(other) is None)


def test_scripts_that_somebody_flushed_are_sent_again(make: Make, client: redis.Redis) -> None:
    cache = make()
    cache.load(CALL, lambda: "old")
    client.script_flush()
    cache.invalidate(CALL.key)
    cache.invalidate(CALL.key)
    assert cache.load(CALL, lambda: "new") == "new"
    assert make().load(CALL, fail) == "new"


def test_a_server_that_refuses_a_command_is_not_taken_to_be_away(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    client.lpush(keys.value(namespace, CALL.key), "not a string")
    cache = make()
    assert cache.load(CALL, lambda: "value") == "value"
    assert not cache.is_away
    assert cache.load(OTHER, lambda: "other") == "other"
    assert make().load(OTHER, fail) == "other"


def test_an_event_loop_sets_reads_and_invalidates(make: Make) -> None:
    one, other = make(), make()

    async def main() -> list[Any]:
        await one.set_async("k", "old", tags=("t",))
        found = [await other.get_async("k")]
        await one.invalidate_async("k")
        found.append(await one.get_async("k"))
        await one.set_async("k", "new", tags=("t",))
        await one.invalidate_tag_async("t")
        found.append(await one.get_async("k"))
        await one.set_async("k", "newer")
        await one.invalidate_namespace_async()
        return [*found, await one.get_async("k")]

    assert asyncio.run(main()) == ["old", None, None, None]


def test_a_forked_child_hears_with_a_connection_of_its_own(make: Make) -> None:
    one = make()
    one.load(CALL, lambda: "old")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        good = holds(one) is None and one.load(CALL, fail) == "old"
        os.write(writer, b"1" if good else b"0")
        deadline = time.monotonic() + 20
        while holds(one) is not None and time.monotonic() < deadline:
            time.sleep(0.002)
        os._exit(0 if holds(one) is None else 1)
    assert os.read(reader, 1) == b"1"
    assert one.load(CALL, fail) == "old"
    one.invalidate(CALL.key)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    one.load(CALL, lambda: "new")
    assert make().load(CALL, fail) == "new"
    os.close(reader)
    os.close(writer)


def test_a_key_in_redis_is_explained(make: Make) -> None:
    cache = make(stale_s=30)
    cache.set("k", "v")
    found = cache.explain("k")
    assert (found["redis"], found["hears_by"], found["is_trusted"]) == ("up", "tracking", True)
    assert 80 < found["redis_dies_in_s"] <= 90
    assert (found["owed_changes"], found["lease_left_s"]) == (0, None)
