from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.supervisor import restart
from outrider.supervisor.restart import SETTLED_S, Again, Decision, GiveUp, Stay
from outrider.supervisor.spec import RestartPolicy

POLICY = RestartPolicy(backoff_s=(0.0, 0.1, 1.0, 5.0), most=5, window_s=60.0)


def decided(
    policy: RestartPolicy = POLICY,
    *,
    code: int = 1,
    lived_s: float = 1.0,
    restarts_s: tuple[float, ...] = (),
    in_a_row: int = 0,
) -> Decision:
    return restart.decide(
        policy, code=code, lived_s=lived_s, restarts_s=restarts_s, in_a_row=in_a_row, now_s=1000.0
    )


@pytest.mark.parametrize(
    ("strategy", "code", "expected"),
    [
        ("always", 0, Again(0.0)),
        ("always", 1, Again(0.0)),
        ("always", -9, Again(0.0)),
        ("on-failure", 0, Stay()),
        ("on-failure", 1, Again(0.0)),
        ("on-failure", -15, Again(0.0)),
        ("never", 0, Stay()),
        ("never", 1, Stay()),
        ("never", -9, Stay()),
    ],
)
def test_the_strategy_decides_what_follows_which_end(
    strategy: str, code: int, expected: Decision
) -> None:
    assert expected == decided(RestartPolicy(strategy=strategy), code=code)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("in_a_row", "wait_s"), [(0, 0.0), (1, 0.1), (2, 1.0), (3, 5.0), (4, 5.0), (400, 5.0)]
)
def test_the_wait_grows_with_restarts_in_a_row_and_then_stays(in_a_row: int, wait_s: float) -> None:
    assert Again(wait_s) == decided(in_a_row=in_a_row)


def test_a_process_that_settled_is_started_without_a_wait() -> None:
    assert decided(in_a_row=3, lived_s=SETTLED_S) == Again(0.0)
    assert decided(in_a_row=3, lived_s=SETTLED_S - 0.1) == Again(5.0)


def test_too_many_restarts_in_the_window_are_given_up_with_a_reason() -> None:
    found = decided(code=3, restarts_s=(941.0, 950.0, 960.0, 970.0, 980.0))

    assert found == GiveUp("restarted 5 times in 60 s; last end: exited with code 3")
    assert decided(restarts_s=(940.0, 950.0, 960.0, 970.0, 980.0)) == Again(0.0)


@given(
    backoff=st.lists(st.floats(0, 100), min_size=1, max_size=5).map(tuple),
    most=st.integers(0, 10),
    restarts=st.lists(st.floats(0, 1000), max_size=20).map(tuple),
    in_a_row=st.integers(0, 100),
    lived_s=st.floats(0, 1e6),
)
def test_a_restart_waits_as_the_policy_says_or_is_given_up(
    backoff: tuple[float, ...],
    most: int,
    restarts: tuple[float, ...],
    in_a_row: int,
    lived_s: float,
) -> None:
    policy = RestartPolicy(backoff_s=backoff, most=most)
    match decided(policy, restarts_s=restarts, in_a_row=in_a_row, lived_s=lived_s):
        case Again(wait_s):
            assert wait_s in backoff
            assert sum(at > 940 for at in restarts) < most
        case GiveUp():
            assert sum(at > 940 for at in restarts) >= most
        case Stay():
            raise AssertionError("it is to be started always")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited normally"),
        (1, "exited with code 1"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
    ],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert words == restart.describe(code)
