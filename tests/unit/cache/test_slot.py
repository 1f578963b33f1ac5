from __future__ import annotations

import asyncio
import threading

from outrider.cache.slot import AWAY, WAITING, Slot, Then


def test_an_answer_that_is_there_is_not_waited_for() -> None:
    slot = Slot(0.0)
    slot.fill("answer")
    assert slot.wait() == "answer"
    assert asyncio.run(slot.wait_async()) == "answer"


def test_an_answer_that_comes_from_another_thread_wakes_who_waits() -> None:
    slot = Slot(20.0)
    threading.Timer(0.01, slot.fill, ["answer"]).start()
    assert slot.wait() == "answer"


def test_an_answer_that_comes_from_another_thread_wakes_the_task_that_waits() -> None:
    slot = Slot(20.0)
    threading.Timer(0.01, slot.fill, ["answer"]).start()
    assert asyncio.run(slot.wait_async()) == "answer"


def test_who_waits_in_vain_says_so_and_is_told_that_the_server_is_away() -> None:
    overdue: list[int] = []
    slot = Slot(0.001, lambda: overdue.append(1))
    assert slot.wait() is AWAY
    assert asyncio.run(slot.wait_async()) is AWAY
    assert overdue == [1, 1]
    assert slot.answer is WAITING


def test_the_first_answer_stands() -> None:
    slot = Slot(0.0)
    slot.fill("first")
    slot.fill("second")
    assert slot.wait() == "first"


def test_an_answer_for_a_loop_that_was_closed_is_nobodys() -> None:
    slot = Slot(20.0)

    async def leave() -> None:
        waiting = asyncio.create_task(slot.wait_async())
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    slot.fill("answer")
    assert slot.answer == "answer"


def test_what_follows_an_answer_is_done_once() -> None:
    seen: list[str] = []
    slot = Then(seen.append)
    slot.fill("answer")
    slot.fill(AWAY)
    assert seen == ["answer"]


def test_no_answer_is_missed_however_closely_it_comes_before_the_wait() -> None:
    for _ in range(2000):
        slot = Slot(20.0)
        thread = threading.Thread(target=slot.fill, args=("answer",))
        thread.start()
        assert slot.wait() == "answer"
        thread.join()
