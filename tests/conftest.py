"""What tests share: a real Valkey, flushed before each test, and an environment without ours."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from outrider.sdk import bot
from outrider.store import connection
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

# `make test` says the same of the same code each time; `make explore` looks for what is new.
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("OUTRIDER_") and not name.startswith("OUTRIDER_TEST_"):
            monkeypatch.delenv(name)
    # A busy machine may hold a call up for longer than the 40 ms after which Redis counts as away.
    monkeypatch.setenv("OUTRIDER_CACHE_TIMEOUT_S", "5")


@pytest.fixture(autouse=True)
def _forget_bots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin without the bots that others made: what comes later is named by them."""
    monkeypatch.setattr(bot, "_CURRENT", [])


@pytest.fixture(scope="session")
def _valkey() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.fixture
def valkey_url(_valkey: str) -> str:
    """The address of a real, empty Valkey."""
    with connection.connect(_valkey) as client:
        client.flushall()
    return _valkey


@pytest.fixture(scope="session", autouse=True)
def _application(request: pytest.FixtureRequest) -> None:
    """Let the workers' application, where a test imports it, read its settings with a Redis set.

    Celery reads them at the first use of any task, keeps what it made half, and never tries again:
    whichever test came first would decide for all.
    """
    workers = sys.modules.get("outrider.workers.app")
    if workers:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OUTRIDER_REDIS_URL", request.getfixturevalue("_valkey"))
            workers.app.finalize()


@pytest.fixture(autouse=True)
def _forget_loaders() -> Iterator[None]:
    """Forget the functions that a test cached: their namespaces are free for the next."""
    yield
    loaders = sys.modules.get("outrider.cache.loaders")
    if loaders:
        loaders._BY_NAMESPACE.clear()


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    """Undo what Celery's set-up does to the root logger, which would silence later tests' logs."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    filters = [list(handler.filters) for handler in handlers]
    yield
    root.setLevel(level)
    for handler, before in zip(handlers, filters, strict=True):
        handler.filters[:] = before
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
