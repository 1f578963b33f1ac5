"""Servers of the integration tests. Each is started once, when first asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from outrider.database import tally
from tests.servers import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHOSEN = pytest.StashKey[list[str]]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which PostgreSQL the tests ran on."""
    for line in config.stash.get(_CHOSEN, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def postgres_binaries() -> postgres.Binaries:
    """Programs to start servers of one's own from; fails where there are none."""
    return postgres.find()


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of a database for an ordinary role."""
    chosen = request.config.stash.setdefault(_CHOSEN, [])
    url = os.environ.get("OUTRIDER_TEST_POSTGRES_URL")
    if url:
        chosen.append(f"PostgreSQL {postgres.ready(url)}: OUTRIDER_TEST_POSTGRES_URL")
        yield url
        return
    binaries = request.getfixturevalue("postgres_binaries")
    with postgres.Postgres(binaries) as server:
        chosen.append(f"PostgreSQL {postgres.ready(server.url)}: {binaries.origin}")
        yield server.url


@pytest.fixture
def counted_anew() -> None:
    """Forget the engines and the counts of earlier tests."""
    for other in tally.engines():
        tally._ENGINES.discard(other)
    tally.TALLY.reset()
