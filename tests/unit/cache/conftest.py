"""A clock that stands still, and a Valkey that a test may kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.store import connection
from tests.servers.valkey import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis


class FakeClock:
    """Wall and monotonic time move together, and only when told to."""

    def __init__(self, at_s: float = 1_700_000_000.0) -> None:
        self.at_s = at_s

    def now(self) -> float:
        return self.at_s

    def monotonic(self) -> float:
        return self.at_s

    def advance(self, seconds: float) -> None:
        self.at_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as started:
        yield started


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as connected:
        yield connected
