from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from outrider.errors import BadArgument, RedisUnavailable
from outrider.validation import runner
from outrider.validation.env import Skipped
from outrider.validation.figure import Figure, fact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.validation.env import Env

MET = Figure("good.kept", 1.0, "s", 2.0, "<=", passed=True)
MISSED = Figure("bad.missed", 3.0, "s", 2.0, "<=", passed=False)


def good(_env: Env) -> Iterator[Figure]:
    yield MET


def bad(_env: Env) -> Iterator[Figure]:
    yield MISSED
    yield MET


def broken(_env: Env) -> Iterator[Figure]:
    yield MET
    raise ZeroDivisionError("nothing to divide by")


def away(_env: Env) -> Iterator[Figure]:
    yield fact("before", 1, "")
    raise redis.ConnectionError("connection refused")


def refused(_env: Env) -> Iterator[Figure]:
    yield from ()
    raise RedisUnavailable("Redis does not answer; start it.")


def absent(_env: Env) -> Iterator[Figure]:
    yield from ()
    raise Skipped("nothing of that kind runs here")


def test_phases_run_in_their_own_order_whatever_the_order_asked() -> None:
    assert runner.chosen(["load", "cache", "baseline", "cache"]) == ["baseline", "cache", "load"]


def test_all_phases_run_when_none_is_named() -> None:
    expected = ["baseline", "database", "cache", "processes", "monitoring", "load"]
    assert expected == runner.chosen(None) == runner.chosen([])


def test_an_unknown_phase_is_refused_with_the_known_names_before_anything_runs(env: Env) -> None:
    with pytest.raises(BadArgument) as refusal:
        runner.run(env, ["cache", "lod"])
    assert "'lod'" in str(refusal.value)
    assert "baseline, database, cache, processes, monitoring, load" in str(refusal.value)


def test_a_phase_that_breaks_off_keeps_its_figures_and_the_next_one_runs(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    report = runner.run(env, phases={"broken": broken, "good": good})
    assert [(p.name, p.state) for p in report.phases] == [("broken", "failed"), ("good", "passed")]
    assert report.phases[0].figures == (MET,)
    assert report.phases[0].reason == "ZeroDivisionError: nothing to divide by"
    assert not report.passed
    assert "phase broken broke off" in caplog.text


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (away, "ConnectionError: connection refused"),
        (refused, "Redis does not answer; start it."),
    ],
)
def test_what_is_away_fails_its_phase_in_words_and_without_a_traceback(
    env: Env,
    caplog: pytest.LogCaptureFixture,
    phase: runner.Measure,
    reason: str,
) -> None:
    report = runner.run(env, phases={"away": phase, "good": good})
    assert ("failed", reason) == (report.phases[0].state, report.phases[0].reason)
    assert report.phases[1].state == "passed"
    assert not caplog.records


def test_a_missed_target_fails_its_phase_by_name(env: Env) -> None:
    report = runner.run(env, phases={"bad": bad})
    assert report.phases[0].reason == "targets missed: bad.missed"
    assert report.phases[0].figures == (MISSED, MET)
    assert not report.passed


def test_a_skipped_phase_says_why_and_fails_nothing(env: Env) -> None:
    report = runner.run(env, phases={"absent": absent, "good": good})
    assert report.phases[0].state == "skipped"
    assert report.phases[0].reason == "nothing of that kind runs here"
    assert report.passed


def test_a_run_that_skipped_everything_has_proved_nothing(env: Env) -> None:
    assert not runner.run(env, phases={"absent": absent}).passed


def test_progress_tells_each_phase_twice(env: Env) -> None:
    heard: list[tuple[str, str]] = []
    runner.run(
        env,
        phases={"good": good, "bad": bad},
        progress=lambda name, state, _detail: heard.append((name, state)),
    )
    assert heard == [
        ("good", "running"), ("good", "passed"), ("bad", "running"), ("bad", "failed"),
    ]  # fmt: skip


def test_the_report_names_run_host_and_time(env: Env) -> None:
    report = runner.run(env, phases={"good": good})
    assert (env.run, "one") == (report.run, report.host)
    assert report.started_s > 0
    assert report.seconds >= report.phases[0].seconds >= 0
