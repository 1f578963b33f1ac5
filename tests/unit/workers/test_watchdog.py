from __future__ import annotations

import pytest

from outrider.workers.watchdog import Seen, decide


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        ("none", Seen(10, 9, True, 300, 300)),
        ("worker", Seen(10, 60, True, 300, 300)),
        ("beat", Seen(10, 60, True, 300, 300, last_cure="worker")),
        ("worker", Seen(10, 60, True, 300, 300, last_cure="beat")),
        ("none", Seen(10, 60, False, 300, 300)),  # Redis is away: nobody's fault here
        ("none", Seen(10, 60, True, 5, 300)),  # the worker was only just started
        ("none", Seen(10, 60, True, 300, 0)),  # beat is not ready: its own restart comes first
        ("none", Seen(60, 150, True, 300, 300)),  # patience grows with the interval
    ],
)  # fmt: skip
def test_the_watchdog_cures_only_what_is_stuck(expected: str, seen: Seen) -> None:
    assert expected == decide(seen)
