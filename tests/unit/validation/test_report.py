from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.errors import BadArgument
from outrider.store import connection, keys
from outrider.validation import report
from outrider.validation.figure import Figure, Phase, Report, State, fact

if TYPE_CHECKING:
    from pathlib import Path

MET = Figure("cache.miss.p50_s", 0.001, "s", 0.004, "<=", passed=True)
MISSED = Figure("cache.miss.p99_s", 0.052, "s", 0.04, "<=", passed=False, note="500 measured")

finite = st.floats(allow_nan=False, allow_infinity=False)
figures = st.builds(
    Figure, st.text(), finite | st.text() | st.none(), st.text(), finite | st.none(),
    st.sampled_from(["<=", ">=", "==", ""]), st.booleans() | st.none(), st.text(),
)  # fmt: skip
phases = st.builds(
    Phase, st.text(), st.sampled_from(["passed", "failed", "skipped"]), st.text(), finite, finite,
    st.lists(figures, max_size=3).map(tuple),
)  # fmt: skip
reports = st.builds(
    Report, st.text(), st.text(), st.text(), finite, finite, st.booleans(),
    st.lists(phases, max_size=3).map(tuple),
)  # fmt: skip


def made(*phases: Phase, run: str = "r1", passed: bool = True, started_s: float = 1e9) -> Report:
    return Report(run, "one", "0.1.0", started_s, 12.5, passed, phases)


def phase(name: str, state: State, *measured: Figure, reason: str = "") -> Phase:
    return Phase(name, state, reason, 1e9, 1.5, measured)


@given(reports)
def test_a_report_comes_back_from_json_as_it_was(given_report: Report) -> None:
    assert given_report == report.parse(json.loads(json.dumps(report.plain(given_report))))


def test_what_is_not_a_report_is_refused_with_where_it_differs() -> None:
    data = report.plain(made(phase("cache", "passed", MET)))
    data["phases"][0]["state"] = "perhaps"
    with pytest.raises(BadArgument, match=r"phases\[0\]\.state|state.*phases"):
        report.parse(data)


def test_a_report_is_kept_in_redis_for_thirty_days_and_found_as_the_newest(
    valkey_url: str,
) -> None:
    older, newer = made(run="older"), made(phase("cache", "passed", MET), run="newer")
    with connection.connect(valkey_url) as client:
        assert report.newest(client) is None
        report.keep(client, older)
        report.keep(client, newer)
        assert newer == report.newest(client)
        for key in (keys.validation("older"), keys.validation("newer"), keys.VALIDATION_NEWEST):
            assert 30 * 86_400 - 60 < client.ttl(key) <= 30 * 86_400


def test_the_newest_report_is_none_when_it_expired_before_its_name(valkey_url: str) -> None:
    with connection.connect(valkey_url) as client:
        report.keep(client, made(run="gone"))
        client.delete(keys.validation("gone"))
        assert report.newest(client) is None


def test_a_report_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    done = made(phase("cache", "failed", MET, MISSED), passed=False)
    path = tmp_path / "deep" / "report.json"
    report.write(path, done)
    assert done == report.parse(json.loads(path.read_text("utf-8")))
    assert [path] == list(path.parent.iterdir())


def test_a_path_that_can_not_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadArgument, match=r"file/report\.json.*--output"):
        report.write(tmp_path / "file" / "report.json", made())


def test_files_as_old_as_what_redis_forgot_are_removed(tmp_path: Path) -> None:
    old = report.file(tmp_path, made(run="old"))
    young = report.file(tmp_path, made(run="young"))
    month_s = 30 * 86_400
    os.utime(old, (1e9, 1e9))
    os.utime(young, (1e9 + month_s, 1e9 + month_s))
    newest = report.file(tmp_path, made(run="newest", started_s=1e9 + month_s + 60))
    assert {young, newest} == set((tmp_path / "reports").iterdir())


def test_the_summary_lists_only_what_was_missed() -> None:
    done = made(phase("cache", "failed", MET, MISSED, reason="targets missed"), passed=False)
    summary: dict[str, Any] = report.summary(done)
    assert summary["phases"] == [{
        "name": "cache", "state": "failed", "reason": "targets missed", "figures": 2,
        "missed": ["cache.miss.p99_s = 52 ms, target <= 40 ms (500 measured)"],
    }]  # fmt: skip
    assert (summary["passed"], summary["run"]) == (False, "r1")


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([phase("cache", "passed", MET)], "validation passed: 1 targets met."),
        (
            [phase("cache", "failed", MET, MISSED), phase("load", "skipped")],
            "validation failed in cache: 1 target missed; skipped: load.",
        ),
        ([phase("load", "skipped")], "nothing was validated; skipped: load."),
    ],
)
def test_the_verdict_is_one_sentence(phases: list[Phase], expected: str) -> None:
    assert expected == report.verdict(made(*phases))


def test_a_table_shows_each_figure_without_the_phase_in_its_name() -> None:
    shown = report.rows(phase("cache", "failed", MET, MISSED, fact("cache.keys", 3, "keys")))
    assert shown == [
        ("miss.p50_s", "1 ms", "<= 4 ms", "ok", ""),
        ("miss.p99_s", "52 ms", "<= 40 ms", "missed", "500 measured"),
        ("keys", "3 keys", "", "", ""),
    ]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "s", "not measured"),
        (0.0, "s", "0 µs"),
        (0.0000021, "s", "2.1 µs"),
        (1.26, "s", "1.26 s"),
        (125.0, "s", "2m5s"),
        (0.995, "ratio", "99.5 %"),
        (3 * 1024**2, "bytes", "3.0 MiB"),
        (0, "keys", "0 keys"),
        (200, "", "200"),
        ("Valkey 9.1", "", "Valkey 9.1"),
    ],
)
def test_values_are_shown_with_their_unit(value: Any, unit: str, expected: str) -> None:
    assert expected == report.shown(value, unit)
