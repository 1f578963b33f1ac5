from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from outrider.cache import loaders
from outrider.cache.calls import canonical
from outrider.cache.codec import Codec
from outrider.cache.inbot import InBot
from outrider.cache.loaders import Loader
from outrider.cache.patterns import Recorder
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli.conftest import Outrider

NAMESPACE = "cli.warm"


@pytest.fixture
def bot(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InBot]:
    """A bot that used three keys, and loads ahead when its thread is started."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    loader = Loader("bot:f", lambda number: number, NAMESPACE, 60.0, lambda: Codec("f"))
    loaders.register(loader)
    with connection.connect(valkey_url) as client:
        recorder = Recorder(client, flush_s=3600)
        use = recorder.namespace(NAMESPACE, loader=loader.name, ttl_s=60)
        for number in range(3):
            use.touch(canonical((number,), {}), time.time())
        recorder.flush()
        made = InBot(client, lambda: [use])
        yield made
        made.stop()
        recorder.close()


def test_the_bots_of_a_namespace_fill_it(outrider: Outrider, bot: InBot) -> None:
    bot.start()
    result = outrider("warm", NAMESPACE, "--within", "30s")
    assert "3 of 3 keys of cli.warm are warm, by its bots." in result.output
    assert result.exit_code == 0


def test_what_nobody_loads_in_time_is_said(outrider: Outrider, bot: InBot) -> None:
    result = outrider("warm", NAMESPACE, "--top", "2", "--within", "0.5s")
    assert "0 of 2 keys" in result.output
    assert "2 were not ready within 0.5 s" in result.output
    assert result.exit_code == 1
    assert bot.warmed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "in use: cli.warm"),
        ([NAMESPACE, "--bot", "canary"], "by canary"),
        ([NAMESPACE, "--top", "0"], "--top 0 must be at least 1"),
        ([NAMESPACE, "--within", "soon"], "soon"),
    ],
)
@pytest.mark.usefixtures("bot")
def test_bad_input_says_what_would_be_good(
    arguments: list[str], message: str, outrider: Outrider
) -> None:
    result = outrider("warm", *arguments)
    assert message in result.output
    assert result.exit_code == 2


def test_without_a_stack_it_says_so(outrider: Outrider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", "redis://127.0.0.1:1/0")
    assert outrider("warm", NAMESPACE).exit_code == 3
