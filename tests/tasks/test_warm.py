from __future__ import annotations

from outrider.cache.agenda import Due
from outrider.tasks import warm


def test_what_is_due_at_one_moment_is_loaded_together_and_at_its_time() -> None:
    due = [Due("a", f"k{number}", at_s) for number, at_s in enumerate([10.0, 10.2, 11.0, 10.1])]
    batches = warm._batches(due)
    assert [[one.at_s for one in batch] for batch in batches] == [[10.0, 10.1, 10.2], [11.0]]


def test_a_moment_with_many_keys_is_shared_among_workers() -> None:
    batches = warm._batches([Due("a", f"k{number}", 10.0) for number in range(45)])
    assert [len(batch) for batch in batches] == [20, 20, 5]
