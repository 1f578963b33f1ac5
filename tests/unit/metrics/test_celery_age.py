from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.metrics import celery_age
from outrider.metrics.celery_age import FAR, NEAR, Line


def look(before: Line | None, queue: list[str], now_s: float) -> tuple[Line, float]:
    """Look at a queue, the exit first, as the script does."""
    far = [queue[place * NEAR] for place in range(1, FAR + 1) if place * NEAR < len(queue)]
    return celery_age.look(before, queue[:NEAR], far, queue[-1], length=len(queue), now_s=now_s)


class Model:
    """A queue that knows when each of its messages came."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, float]] = []
        self.now_s = 0.0
        self._number = 0

    def put(self, count: int) -> None:
        self.waiting += [(f"{self._number + place}", self.now_s) for place in range(count)]
        self._number += count

    def take(self, count: int) -> None:
        del self.waiting[:count]

    def marks(self) -> list[str]:
        return [mark for mark, _ in self.waiting]

    def age_s(self) -> float:
        return self.now_s - self.waiting[0][1]


MOVES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 3)), min_size=2, max_size=40
)


@given(MOVES)
def test_the_first_waits_since_the_look_that_saw_it_first(
    moves: list[tuple[int, int, int]],
) -> None:
    model, line, looks_s = Model(), None, list[tuple[int, float]]()
    for put, take, pause_s in moves:
        model.put(put)
        model.now_s += pause_s
        model.take(take)
        if not model.waiting:
            line = None
            continue
        line, age_s = look(line, model.marks(), model.now_s)
        looks_s.append((int(model.waiting[-1][0]), model.now_s))
        first = int(model.waiting[0][0])
        seen_s = next(at_s for newest, at_s in looks_s if newest >= first)
        assert age_s == model.now_s - seen_s <= model.age_s()


def test_a_queue_that_moves_steadily_shows_its_real_wait() -> None:
    model, line, age_s = Model(), None, 0.0
    model.put(1000)
    for _ in range(60):
        line, age_s = look(line, model.marks(), model.now_s)
        model.now_s += 10
        model.take(100)
        model.put(100)

    # A message waits for a thousand others, a hundred a look: for 100 s.
    assert 90 <= look(line, model.marks(), model.now_s)[1] <= 100
    assert age_s >= 90


def test_messages_that_come_back_in_front_keep_the_others_steps() -> None:
    line, _ = look(None, ["a", "b"], 100.0)
    line, age_s = look(line, ["x", "y", "a", "b"], 110.0)
    assert age_s == 10
    assert look(line, ["a", "b"], 120.0)[1] == 20


def test_a_queue_that_was_emptied_and_filled_begins_anew() -> None:
    line, _ = look(None, ["a", "b"], 100.0)

    assert look(line, ["c", "d", "e"], 200.0)[1] == 0


def test_more_than_the_marks_reach_taken_between_two_looks_begins_anew() -> None:
    many = [str(number) for number in range(NEAR * (FAR + 4))]
    line, _ = look(None, many, 100.0)

    assert look(line, many[NEAR * FAR :], 110.0)[1] == 10
    assert look(line, many[NEAR * FAR + 1 :], 110.0)[1] == 0


def test_steps_are_bounded_and_keep_the_oldest() -> None:
    line = None
    for second in range(1000):
        line, age_s = look(line, ["a"], float(second))
        assert age_s == second
        assert len(line.steps) <= celery_age.MOST_STEPS
