"""How far behind a replica is taken to be, whatever it says of itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.database.lag import Lag, Note


def followed(*notes: tuple[float, int], limit_s: float = 5.0) -> Lag:
    lag = Lag(limit_s=limit_s)
    for commits, (at_s, place) in enumerate(notes):
        lag.note(Note(at_s, place, commits))
    return lag


def test_a_replica_that_has_all_is_near() -> None:
    state = followed((0.0, 100), (1.0, 200)).judge(1.0, replayed=200, received=200)

    assert (state.usable, state.lag_s, state.lag_bytes, state.commits) == (True, 0.0, 0, 1)


def test_the_lag_is_the_age_of_the_newest_note_it_has_reached() -> None:
    lag = followed((0.0, 100), (2.0, 200), (4.0, 300))

    state = lag.judge(4.0, replayed=250, received=300)

    assert (state.lag_s, state.lag_bytes, state.commits) == (2.0, 50, 1)


def test_a_quiet_primary_makes_no_lag() -> None:
    lag = followed((0.0, 100), (100.0, 100))

    assert lag.judge(100.0, replayed=100, received=100).lag_s == 0.0


def test_a_replica_whose_link_broke_is_refused_though_it_replayed_all_it_received() -> None:
    lag = followed((0.0, 100))
    lag.judge(0.0, replayed=100, received=100)
    lag.note(Note(1.0, 200, 0))
    lag.note(Note(9.0, 300, 0))

    state = lag.judge(9.0, replayed=100, received=100)

    assert not state.usable
    assert "stands still" in state.reason
    assert "nothing reaches it" in state.reason


def test_a_replica_whose_replay_is_held_says_so() -> None:
    lag = followed((0.0, 100))
    lag.judge(0.0, replayed=100, received=100)
    lag.note(Note(9.0, 300, 0))

    assert "replay is held" in lag.judge(9.0, replayed=100, received=300).reason


def test_a_primary_that_can_not_be_asked_makes_the_lag_grow() -> None:
    lag = followed((0.0, 100))

    assert lag.judge(4.0, replayed=100, received=100).usable
    state = lag.judge(6.0, replayed=100, received=100)
    assert (state.usable, state.reason) == (False, "the primary was not seen for 6.0 s")


def test_a_primary_never_seen_lets_no_replica_answer() -> None:
    assert not followed().judge(0.0, replayed=100, received=100).usable


@given(
    moves=st.lists(st.tuples(st.floats(0.1, 3), st.integers(0, 50)), min_size=1, max_size=40),
    share=st.floats(0, 1),
)
def test_no_replica_is_ever_taken_to_be_nearer_than_it_is(
    moves: list[tuple[float, int]], share: float
) -> None:
    """The true lag is the time since the replica last had all; the judged one is never less."""
    lag, at_s, place, history = Lag(limit_s=1e9), 0.0, 100, []
    for wait_s, grown in moves:
        at_s, place = at_s + wait_s, place + grown
        lag.note(Note(at_s, place, 0))
        history.append((at_s, place))
    replayed = round(history[0][1] + share * (place - history[0][1]))
    true_s = at_s - max(then for then, had in history if had <= replayed)

    state = lag.judge(at_s, replayed=replayed, received=replayed)

    assert state.lag_s is not None
    assert state.lag_s >= true_s - 1e-9
