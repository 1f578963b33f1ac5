"""Advice from settings as a server has them, judged without a server."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from outrider.database import pgtune, server_advice, trial, watch
from outrider.database.server_advice import Facts, Setting
from outrider.errors import BadArgument

GIB = 1 << 30


def setting(
    name: str, value: str, unit: str | None = None, context: str = "user", **more: Any
) -> Setting:
    return Setting(name, value, unit, context, "default", **more)


def advised(*settings: Setting, **machine: Any) -> dict[str, server_advice.Advice]:
    wanted = pgtune.Machine(8 * GIB, version=16, **machine)
    found = server_advice.advise(wanted, {each.name: each for each in settings})
    return {each.name: each for each in found}


def test_what_a_reload_reaches_and_what_needs_a_restart_is_read_from_the_server() -> None:
    found = advised(
        setting("shared_buffers", "16384", "8kB", "postmaster"),
        setting("max_wal_size", "1024", "MB", "sighup"),
        setting("jit", "on", enumvals=None),
    )

    assert {name: each.how for name, each in found.items()} == {
        "max_wal_size": "reload", "jit": "reload", "shared_buffers": "restart",
    }  # fmt: skip
    assert (found["shared_buffers"].now, found["shared_buffers"].wanted) == ("128MB", "2GB")
    assert list(found)[-1] == "shared_buffers"


def test_what_is_right_already_is_not_advised() -> None:
    assert not advised(
        setting("shared_buffers", "262144", "8kB", "postmaster"),
        setting("checkpoint_completion_target", "0.9", None, "sighup"),
        setting("jit", "off"),
    )


def test_a_value_this_build_can_not_take_is_replaced_or_left_out() -> None:
    compression = setting(
        "wal_compression", "off", None, "superuser", enumvals=["pglz", "on", "off"]
    )
    assert advised(compression)["wal_compression"].wanted == "on"
    assert not advised(setting("effective_io_concurrency", "0", max_val="0"))


def test_the_connections_of_the_server_are_never_advised() -> None:
    assert not advised(setting("max_connections", "100", None, "postmaster"), connections=100)


def machine(url: str, **options: Any) -> pgtune.Machine:
    facts = Facts(16, "linux", options.pop("size_bytes", GIB), in_recovery=False)
    return server_advice.machine(facts, sa.make_url(url), connections=100, **options)


def test_the_memory_of_a_server_elsewhere_must_be_said() -> None:
    with pytest.raises(BadArgument, match="--memory"):
        machine("postgresql://bot@db.internal/fleet")

    assert machine("postgresql://bot@db.internal/fleet", memory_bytes=4 * GIB).size == "smaller"
    assert machine("postgresql://bot@localhost/fleet").memory_bytes > 0
    larger = machine("postgresql://bot@db/fleet", memory_bytes=4 * GIB, size_bytes=9 * GIB)
    assert larger.size == "larger"


def test_a_trial_says_gain_only_where_all_of_the_interval_does() -> None:
    assert trial.judge([0.8] * 8)[0] == "gain"
    assert trial.judge([0.8] * 7 + [1.01])[0] == "no gain"
    assert trial.judge([0.99] * 20)[0] == "no gain"
    assert trial.judge([1.3] * 8)[0] == "worse"


@pytest.mark.parametrize("count", [8, 15, 30])
def test_the_interval_of_a_trial_is_wide_enough(count: int) -> None:
    """Its ends leave out what the sign test allows at 99 %: none of 8, two of 15 and so on."""
    left_out = {8: 0, 15: 2, 30: 7}[count]
    _, _, lower, upper = trial.judge([float(n) for n in range(count)])

    assert (lower, upper) == (left_out, count - 1 - left_out)


def test_the_watch_needs_both_windows_and_more_than_the_noise() -> None:
    before = [{"ms": 1.0}, {"ms": 1.05}, {"ms": 0.95}]

    assert watch.judge(before, [{"ms": 1.5}, {"ms": 1.6}]).is_worse
    assert not watch.judge(before, [{"ms": 1.5}, {"ms": 1.0}]).is_worse
    assert not watch.judge(before, [{"ms": 1.1}, {"ms": 1.1}]).is_worse
    noisy = [{"ms": 1.0}, {"ms": 2.0}, {"ms": 1.0}]
    assert not watch.judge(noisy, [{"ms": 2.5}, {"ms": 2.6}]).is_worse


def test_a_quiet_server_gives_the_watch_nothing_to_judge_by() -> None:
    verdict = watch.judge([{}, {}, {}], [{}, {}])

    assert not verdict.is_worse
    assert "nothing to judge by" in verdict.words()
