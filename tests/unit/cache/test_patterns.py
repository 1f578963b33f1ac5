from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from outrider.cache import keys, usage
from outrider.cache.calls import Call, canonical
from outrider.cache.patterns import MOST_PENDING, NamespaceUse, Recorder
from outrider.cache.usage import MOST_KEYS, Tally
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

NOW_S = 1_700_000_000.0


@pytest.fixture
def record(client: redis.Redis, clock: Any) -> Iterator[Callable[[], Recorder]]:
    """Build recorders as separate processes would have them; they flush when told to."""
    made: list[Recorder] = []

    def build() -> Recorder:
        made.append(Recorder(client, clock=clock, flush_s=3600))
        return made[-1]

    yield build
    for recorder in made:
        recorder.close()


def call(number: int) -> Call:
    return canonical((number,), {})


def namespace(recorder: Recorder, *, ttl_s: float = 60.0) -> NamespaceUse:
    return recorder.namespace("t", loader="bots.market:price", ttl_s=ttl_s)


def test_a_use_reaches_redis_with_all_that_warming_needs(record: Any, client: redis.Redis) -> None:
    recorder = record()
    use = namespace(recorder)
    asked = canonical(("BTC", [1]), {"depth": 5})
    use.touch(asked, NOW_S)
    use.loaded(asked.key, NOW_S + 60)
    assert recorder.flush()
    stored = usage.read(client, "t")[asked.key]
    assert (stored.loader, stored.args, stored.kwargs) == (
        "bots.market:price", ["BTC", [1]], {"depth": 5},
    )  # fmt: skip
    assert (stored.uses, stored.last_use_s, stored.expires_s) == (1, NOW_S, NOW_S + 60)
    assert stored.is_repeatable
    assert usage.namespaces(client, NOW_S) == ["t"]
    assert usage.tally(client, "t", NOW_S) == Tally(loads=1)


def test_two_processes_build_one_rhythm(record: Any, client: redis.Redis) -> None:
    recorders = [record(), record()]
    uses = [namespace(recorder) for recorder in recorders]
    for step in range(6):
        uses[step % 2].touch(call(1), NOW_S + 90 * step)
        recorders[step % 2].flush()
    rhythm = usage.read(client, "t")["[1]"].rhythm
    assert (rhythm.visits, rhythm.gap_s, rhythm.last_s) == (6, 90.0, NOW_S + 450)


def test_uses_in_quick_succession_are_counted_but_are_one_visit(
    record: Any, client: redis.Redis
) -> None:
    recorder = record()
    use = namespace(recorder)
    for step in range(50):
        use.touch(call(1), NOW_S + step / 100)
    recorder.flush()
    stored = usage.read(client, "t")["[1]"]
    assert (stored.uses, stored.visits) == (50, 1)


def test_arguments_that_json_cannot_carry_are_not_recorded(
    record: Any, client: redis.Redis
) -> None:
    recorder = record()
    use = namespace(recorder)
    asked = canonical(((1, 2),), {})
    use.touch(asked, NOW_S)
    recorder.flush()
    stored = usage.read(client, "t")[asked.key]
    assert stored.args is None
    assert not stored.is_repeatable


def test_arguments_that_were_changed_after_the_call_are_not_recorded(
    record: Any, client: redis.Redis
) -> None:
    recorder, numbers = record(), [1]
    use = namespace(recorder)
    asked = canonical((numbers,), {})
    use.touch(asked, NOW_S)
    numbers.append(2)
    recorder.flush()
    assert usage.read(client, "t")[asked.key].args is None


def test_a_hit_on_a_warmed_value_is_counted_by_one_process_only(
    record: Any, client: redis.Redis
) -> None:
    client.hset(keys.warmed("t"), "[1]", "1")
    recorders = [record(), record()]
    for recorder in recorders:
        namespace(recorder).warmed_hit("[1]")
        recorder.flush()
    assert usage.tally(client, "t", NOW_S).warmed_hits == 1


def test_what_redis_did_not_take_is_written_later(record: Any, server: Any, clock: Any) -> None:
    with connection.connect(server.url, timeout_s=0.2) as away:
        recorder = Recorder(away, clock=clock, flush_s=3600)
        use = namespace(recorder)
        use.touch(call(1), NOW_S)
        use.loaded("[1]", NOW_S + 60)
        server.kill()
        assert not recorder.flush()
        use.touch(call(1), NOW_S + 30)
        server.start()
        assert recorder.flush()
        stored = usage.read(away, "t")["[1]"]
        assert (stored.uses, stored.visits, stored.expires_s) == (2, 2, NOW_S + 60)
        assert usage.tally(away, "t", NOW_S).loads == 1
        recorder.close()


def test_a_process_notes_a_bounded_number_of_keys() -> None:
    use = NamespaceUse("t", loader="m:f", ttl_s=60)
    for number in range(MOST_PENDING + 5):
        use.touch(call(number), NOW_S)
    taken = use.take()
    assert taken is not None
    assert (len(taken.seen), use.skipped) == (MOST_PENDING, 5)
    assert use.take() is None


def test_redis_keeps_the_keys_used_last(record: Any, client: redis.Redis) -> None:
    recorder = record()
    use = namespace(recorder)
    for number in range(MOST_KEYS + 400):
        use.touch(call(number), NOW_S + number)
    recorder.flush()
    kept = usage.read(client, "t")
    assert len(kept) == MOST_KEYS
    assert "[399]" not in kept
    assert "[400]" in kept


def test_everything_recorded_expires_by_itself(record: Any, client: redis.Redis) -> None:
    recorder = record()
    use = namespace(recorder)
    client.hset(keys.warmed("t"), "[1]", "1")
    use.touch(call(1), NOW_S)
    use.loaded("[1]", NOW_S + 60)
    recorder.flush()
    names = [name for name in client.keys("or:cache:*") if name != keys.NAMESPACES.encode()]
    assert len(names) == 4
    assert all(int(client.ttl(name)) > 0 for name in names)


def test_a_namespace_that_nobody_used_for_a_day_is_forgotten(
    record: Any, client: redis.Redis
) -> None:
    recorder = record()
    namespace(recorder).touch(call(1), NOW_S)
    recorder.flush()
    assert usage.namespaces(client, NOW_S + 86_401) == []
    assert usage.namespaces(client, NOW_S) == []


def test_a_record_that_cannot_be_read_is_passed_over(client: redis.Redis) -> None:
    client.hset(keys.usage("t"), "[1]", b"\xc1")
    assert usage.read(client, "t") == {}


def test_nothing_noted_writes_nothing(record: Any, client: redis.Redis) -> None:
    recorder = record()
    namespace(recorder)
    assert recorder.flush()
    assert client.keys("*") == []


def test_the_log_tells_planners_what_was_used_when(record: Any, client: redis.Redis) -> None:
    recorder = record()
    use = namespace(recorder)
    for back in (30.0, 20.0, 19.5, 0.0):
        use.touch(call(1), NOW_S - back)
    use.touch(canonical(((1, 2),), {}), NOW_S)  # can't be repeated, so it is of no interest
    recorder.flush()
    [(_, entry)] = cast("Any", client.xrange(keys.log("t")))
    assert msgspec.msgpack.decode(entry[b"uses"]) == [
        ["[1]", NOW_S - 30], ["[1]", NOW_S - 20], ["[1]", NOW_S],
    ]  # fmt: skip
    assert (entry[b"ttl_s"], entry[b"loader"]) == (b"60.0", b"bots.market:price")


def test_closing_writes_what_is_left(client: redis.Redis, clock: Any) -> None:
    recorder = Recorder(client, clock=clock, flush_s=3600)
    namespace(recorder).touch(call(1), NOW_S)
    recorder.close()
    assert list(usage.read(client, "t")) == ["[1]"]
