from __future__ import annotations

from types import SimpleNamespace

import pytest

from outrider.workers.lifecycle import overdue


def request(
    *, limit: float | None = None, own: float | None = None, started: float | None = 1e9 + 100
) -> SimpleNamespace:
    return SimpleNamespace(
        time_limits=(own, None), task=SimpleNamespace(time_limit=limit), time_start=started
    )


@pytest.mark.parametrize(
    ("expected", "asked"),
    [
        (None, request()),
        (None, request(limit=60)),
        (5.0, request(limit=5)),
        (5.0, request(limit=60, own=5)),  # what the caller asked for counts more
        (None, request(limit=5, started=None)),  # taken, not yet begun
    ],
)
def test_a_task_is_overdue_beyond_its_own_limit(
    expected: float | None, asked: SimpleNamespace
) -> None:
    assert expected == overdue(asked, 1e9 + 110)
