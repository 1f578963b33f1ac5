from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.patterns import Recorder
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache
from outrider.clock import tick_at
from outrider.store import connection, keys
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli.conftest import Outrider

KEY = '["BTC"]'


@pytest.fixture
def used(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache that was used, flushed and used again, by a bot that told its figures."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    tier = RedisTier(valkey_url, timeout_s=20.0)
    with connection.connect(valkey_url) as client:
        recorder = Recorder(client, flush_s=3600)
        use = recorder.namespace("prices", loader="bots:price", ttl_s=60)
        cache = TieredCache("prices", ttl_s=60, codec=Codec("f"), remote=tier, use=use)
        cache.invalidate_namespace()
        for _ in range(3):
            cache.load(canonical(("BTC",), {}), lambda: "value " * 20)
        cache.load(canonical(("ETH",), {}), lambda: "value")
        recorder.flush()
        recorder.close()
        store = RedisStore(valkey_url, interval_s=10, client=client)
        client.zadd(keys.HOSTS, {"alpha": time.time()})
        for ago, hits in ((1, 0.0), (0, 200.0)):
            store.append(
                "alpha", tick_at(time.time(), 10) - ago,
                {
                    "bot.canary.cache.prices.hits_total": hits,
                    "bot.canary.cache.prices.hits_memory_total": hits * 0.75,
                    "bot.canary.cache.prices.misses_total": hits * 20,
                    "bot.canary.cache.prices.loads_total": hits * 20,
                    "bot.canary.cache.prices.warmed_hits_total": hits / 4,
                },
            )  # fmt: skip
        yield
    tier.close()


@pytest.mark.usefixtures("used")
def test_stats_tell_hits_by_tier_and_what_warming_did(outrider: Outrider) -> None:
    result = outrider("cache", "stats")
    assert result.exit_code == 0
    [line] = [line for line in result.output.splitlines() if line.startswith("prices")]
    assert line.split()[:4] == ["prices", "4,200", "5%", "4%"]
    assert "1 could pay more: outrider cache advise" in result.output
    assert "4000 missed, 0 waited" in outrider("cache", "stats", "prices").output
    [told] = json.loads(outrider("cache", "stats", "prices", "--json").output)
    assert (told["recent"]["warmed_hits"], told["loads"]) == (50, 2)
    assert told["bytes"] > 0


@pytest.mark.usefixtures("used")
def test_top_and_explain_tell_of_keys(outrider: Outrider) -> None:
    assert outrider("cache", "top", "prices", "--count", "1").output.count("ETH") == 0
    [first, _] = json.loads(outrider("cache", "top", "prices", "--json").output)
    assert (first["key"], first["uses"], first["repeatable"]) == (KEY, 3, True)
    said = outrider("cache", "explain", "prices", KEY).output
    assert f"prices {KEY}: in Redis for" in said  # though the namespace was flushed
    assert "used 3 times" in said
    assert "bots:price" in said


@pytest.mark.usefixtures("used")
def test_advice_names_the_exact_change_and_the_evidence(outrider: Outrider) -> None:
    said = outrider("cache", "advise").output
    assert "do    outrider cache top prices" in said
    assert "seen  4.8% of 4200 calls hit" in said
    assert json.loads(outrider("cache", "advise", "--json").output)[0]["evidence"]


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("stats", "nothing"), "in use: prices"),
        (("top", "nothing"), "in use: prices"),
        (("explain", "prices", "gone"), "no use of 'gone' is recorded"),
    ],
)
def test_what_is_not_known_is_refused(
    arguments: tuple[str, ...], words: str, outrider: Outrider
) -> None:
    result = outrider("cache", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_without_caches_it_says_how_to_begin(
    outrider: Outrider, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    assert "@outrider.cached(ttl_s=60)" in outrider("cache", "stats").output
