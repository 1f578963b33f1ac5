from __future__ import annotations

import threading
from dataclasses import dataclass, field

from outrider.metrics.concurrently import Crew


@dataclass
class Asked:
    """A job that answers when it is let go."""

    timeout_s: float = 0.05
    go: threading.Event = field(default_factory=threading.Event)
    runs: int = 0
    cancelled: int = 0

    def run(self) -> str:
        self.runs += 1
        assert self.go.wait(20)
        return "answer"

    def cancel(self) -> None:
        self.cancelled += 1


class Broken(Asked):
    def run(self) -> str:
        raise KeyError("broken")


def ready(timeout_s: float = 20.0) -> Asked:
    job = Asked(timeout_s)
    job.go.set()
    return job


def test_each_answer_comes_under_its_name() -> None:
    answers = Crew[str]().ask({"a": ready(), "b": Broken(20.0)})

    assert answers["a"] == "answer"
    assert isinstance(answers["b"], KeyError)


def test_one_that_is_late_is_cancelled_and_not_asked_again_until_it_is_done() -> None:
    crew, slow, again = Crew[str](), Asked(), ready()
    first = crew.ask({"a": slow, "b": ready()})
    second = crew.ask({"a": again})
    slow.go.set()
    for thread in threading.enumerate():
        if thread.name == "outrider-a":
            thread.join(20)
    third = crew.ask({"a": again})

    assert isinstance(first["a"], TimeoutError)
    assert first["b"] == "answer"
    assert isinstance(second["a"], TimeoutError)
    assert (third["a"], again.runs, slow.cancelled) == ("answer", 1, 1)


def test_to_ask_nobody_is_no_work() -> None:
    assert Crew[str]().ask({}) == {}
