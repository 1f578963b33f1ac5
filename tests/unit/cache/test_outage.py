"""Redis killed, frozen, cut off in silence: who waits, what is served, and what is made up for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

from outrider.cache import keys
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., TieredCache]

CALL, OTHER = canonical((1,), {}), canonical((2,), {})
PATIENT_S = 20.0


@pytest.fixture
def make(server: Any) -> Iterator[Make]:
    opened: list[RedisTier] = []

    def build(url: str = "", *, timeout_s: float = PATIENT_S, **terms: Any) -> TieredCache:
        opened.append(RedisTier(url or server.url, timeout_s=timeout_s))
        terms = {"ttl_s": 600.0} | terms
        return TieredCache("t", codec=Codec("f"), remote=opened[-1], **terms)

    yield build
    for tier in opened:
        tier.close()


def fail() -> Any:
    raise LookupError("gone")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def is_up(cache: TieredCache) -> bool:
    assert cache._remote is not None
    return cache._remote.link.is_up


def away(cache: TieredCache, server: Any, way: str) -> None:
    """Stop the server, and let the cache find out."""
    assert cache._remote is not None
    cache._remote.link.timeout_s = 0.04
    server.kill() if way == "killed" else server.freeze()
    until(lambda: not is_up(cache))
    until(lambda: cache.is_away)


def back(cache: TieredCache, server: Any, way: str) -> None:
    assert cache._remote is not None
    cache._remote.link.timeout_s = PATIENT_S
    server.start() if way == "killed" else server.thaw()
    until(lambda: is_up(cache))


both = pytest.mark.parametrize("way", ["killed", "frozen"])


@both
def test_what_memory_held_is_served_until_redis_returns(way: str, make: Make, server: Any) -> None:
    cache = make()
    cache.load(CALL, lambda: "old")
    away(cache, server, way)
    assert [cache.load(CALL, fail) for _ in range(3)] == ["old"] * 3
    back(cache, server, way)
    # A killed server has lost it; a frozen one still has it.
    assert cache.load(CALL, lambda: "new") in ({"new"} if way == "killed" else {"old"})


@both
def test_what_was_loaded_meanwhile_is_there_for_others_afterwards(
    way: str, make: Make, server: Any
) -> None:
    cache = make()
    cache.get(CALL.key)
    away(cache, server, way)
    assert [cache.load(CALL, lambda: "value") for _ in range(2)] == ["value"] * 2
    assert (cache.statistics.loads, cache.statistics.unsent_writes) == (1, 1)
    back(cache, server, way)
    if (
        way == "frozen"
    ):  # a killed one forgot what was invalidated, and so nothing is taken on trust
        assert make().load(CALL, fail) == "value"
    assert cache.load(CALL, lambda: "value") == "value"


@both
def test_nobody_asks_while_redis_is_known_to_be_away(way: str, make: Make, server: Any) -> None:
    cache = make()
    cache.get(CALL.key)
    away(cache, server, way)
    remote: Any = cache._remote
    assert remote.ask(cache._filling.space, "PING") is None
    assert remote.opening(cache._filling.space) is None
    assert remote.breaker.opened == 1


def test_nothing_is_sent_to_a_server_that_has_gone_silent(make: Make, server: Any) -> None:
    cache = make()
    cache.get(CALL.key)
    remote: Any = cache._remote
    server.freeze()
    remote.link.overdue()  # as who waited for an answer in vain would have it
    space = cache._filling.space
    assert remote.get(space, CALL.key) is None
    assert remote.invalidate(space, "k", CALL.key) is None
    assert remote.store(space, CALL.key, b"v", life_s=60) is None
    assert len(remote.outbox) == 2


@pytest.mark.parametrize("kind", ["key", "tag", "namespace"])
def test_what_was_invalidated_during_an_outage_does_not_come_back(
    kind: str, make: Make, server: Any
) -> None:
    cache, other = make(tags=("all",)), make(tags=("all",))
    cache.load(CALL, lambda: "old")
    away(cache, server, "frozen")
    if kind == "key":
        cache.invalidate(CALL.key)
    elif kind == "tag":
        cache.invalidate_tag("all")
    else:
        cache.invalidate_namespace()
    assert cache.statistics.unsent_invalidations == 1
    back(cache, server, "frozen")
    assert cache.load(CALL, lambda: "new") == "new"
    until(lambda: is_up(other))
    until(lambda: other.load(CALL, fail) == "new")


def test_changes_are_made_up_for_in_their_order(make: Make, server: Any) -> None:
    cache = make()
    cache.set("written, then invalidated", "old")
    cache.set("invalidated, then written", "old")
    away(cache, server, "frozen")
    cache.set("written, then invalidated", "new")
    cache.invalidate("written, then invalidated")
    cache.invalidate("invalidated, then written")
    cache.set("invalidated, then written", "new")
    back(cache, server, "frozen")
    other = make()
    assert other.get("written, then invalidated") is None
    assert other.get("invalidated, then written") == "new"


def test_more_than_can_be_owed_flushes_the_namespace(
    make: Make, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = make(), make()
    cache.load(CALL, lambda: "old")
    assert cache._remote is not None
    cache._remote.outbox._most = 10
    away(cache, server, "frozen")
    for number in range(11):
        cache.invalidate(f"other {number}")
    assert cache._remote.outbox.overflowed == 11
    back(cache, server, "frozen")
    assert cache.load(CALL, lambda: "new") == "new"
    until(lambda: is_up(other))
    until(lambda: other.load(CALL, fail) == "new")


def test_what_is_written_after_a_flush_that_was_owed_is_there_afterwards(
    make: Make, server: Any
) -> None:
    cache = make()
    cache.set("a", "old")
    cache.set("b", "old")
    away(cache, server, "frozen")
    cache.invalidate_namespace()
    for number in range(300):  # more than are sent at a time
        cache.set(f"c{number}", number)
    cache.set("b", "new")
    back(cache, server, "frozen")
    other = make()
    until(lambda: other.get("b") == "new")
    assert [other.get("a"), other.get("c0"), other.get("c299")] == [None, 0, 299]


def test_a_late_write_does_not_undo_an_invalidation_that_was_not_heard(
    make: Make, server: Any
) -> None:
    with Cable(server.port) as cable:
        cut, other = make(cable.url), make()
        cut.get(CALL.key)
        cable.cut()
        until(lambda: cut.is_away)
        cut.load(CALL, lambda: "old")
        other.invalidate(CALL.key)
        cable.mend()
        until(lambda: is_up(cut))
        assert other.get(CALL.key) is None


def test_a_late_write_does_not_replace_a_newer_value(make: Make, server: Any) -> None:
    with Cable(server.port) as cable:
        cut, other = make(cable.url), make()
        cut.get(CALL.key)
        cable.cut()
        until(lambda: cut.is_away)
        cut.load(CALL, lambda: "old")
        time.sleep(0.01)
        other.load(CALL, lambda: "newer")
        cable.mend()
        until(lambda: is_up(cut))
        assert other.get(CALL.key) == cut.get(CALL.key) == "newer"


def test_a_connection_that_has_gone_silent_is_noticed_and_memory_not_trusted(
    make: Make, server: Any
) -> None:
    with Cable(server.port) as cable:
        cut, other = make(cable.url), make()
        other.load(CALL, lambda: "old")
        until(lambda: cut.load(CALL, fail) == "old" and cut.memory.get(CALL.key))
        cable.silence()
        other.invalidate(CALL.key)
        until(lambda: cut.memory.get(CALL.key) is None)  # nobody called: a ping found out
        cable.mend()
        until(lambda: is_up(cut))
        assert cut.load(CALL, lambda: "new") == "new"


@both
def test_a_cache_starts_while_redis_is_away_and_finds_it_later(
    way: str, make: Make, server: Any
) -> None:
    server.kill() if way == "killed" else server.freeze()
    cache = make(timeout_s=0.04)
    assert cache.load(CALL, lambda: "value") == "value"
    assert cache.load(CALL, fail) == "value"
    back(cache, server, way)
    assert cache.load(OTHER, lambda: "other") == "other"
    assert make().load(OTHER, fail) == "other"


def test_an_event_loop_runs_on_while_a_frozen_server_is_waited_for(make: Make, server: Any) -> None:
    cache = make()
    cache.load(CALL, lambda: "value")
    cache._forget_all()
    turns = 0

    async def load() -> str:
        raise LookupError

    async def main() -> Any:
        nonlocal turns
        server.freeze()
        waiting = asyncio.create_task(cache.load_async(CALL, load))
        while turns < 100:
            await asyncio.sleep(0)
            turns += 1
        assert not waiting.done()
        server.thaw()
        return await waiting

    assert asyncio.run(main()) == "value"


def test_large_values_do_not_block_whoever_sends_them_to_a_frozen_server(
    make: Make, server: Any
) -> None:
    cache = make()
    cache.get(CALL.key)
    assert cache._remote is not None
    cache._remote.link.timeout_s = 0.04
    server.freeze()
    value = b"x" * 12_000_000  # more than the sockets hold
    cache.set("large", value)
    until(lambda: cache.is_away)
    server.thaw()
    until(lambda: is_up(cache))
    other = make()
    until(lambda: other.get("large") == value)


def test_a_load_that_outlives_the_outage_is_kept_for_others(make: Make, server: Any) -> None:
    cache = make()

    def load() -> str:
        away(cache, server, "frozen")
        back(cache, server, "frozen")
        return "value"

    assert cache.load(CALL, load) == "value"
    assert make().load(CALL, fail) == "value"


def test_a_server_that_was_emptied_is_noticed(make: Make, server: Any) -> None:
    cache = make()
    cache.invalidate_namespace()
    cache.load(CALL, lambda: "old")
    with connection.connect(server.url) as client:
        client.flushall()
        until(lambda: cache.memory.get(CALL.key) is None)
        assert cache.load(CALL, lambda: "new") == "new"
        assert client.exists(keys.value("t", CALL.key))


class Cable:
    """Carries bytes between caches and a server, until it is cut or goes silent."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._carries, self._accepts = threading.Event(), True
        self._carries.set()
        self._ends: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._accepts = False
        self._carries.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()
        self._thread.join(20)

    def silence(self) -> None:
        """Carry nothing, and do not say so."""
        self._carries.clear()

    def cut(self) -> None:
        """End all connections, and take no others."""
        self._accepts = False
        self._hang_up()

    def mend(self) -> None:
        """Carry again."""
        self._accepts = True
        self._carries.set()

    def _hang_up(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._accepts:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._carries.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
