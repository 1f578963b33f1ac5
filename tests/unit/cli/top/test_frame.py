from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from outrider.cli.top import frame
from outrider.cli.top.frame import Screen
from outrider.cli.top.view import View
from outrider.web import view as snapshots
from tests.unit.cli.top import frames
from tests.unit.web.conftest import Fleet


def drawn(
    found: dict[str, Any], *, width: int = 120, height: int | None = 24, looks: View | None = None
) -> list[str]:
    return [line.plain for line in frame.draw(found, looks or View(), Screen(width, height))]


def test_the_first_screen_has_verdict_host_shared_and_bots() -> None:
    shown = "\n".join(drawn(frames.found()))

    for words in ("OK  All 3 bots are healthy.", "host0", "cpu", " 25%", "1.9 MiB", "alerts 3",
                  "canary   ready", "2h30m", "10.0%", "28.6 MiB", "4 ms", "q quit"):  # fmt: skip
        assert words in shown, words


def test_what_fires_is_said_with_its_severity_in_words() -> None:
    fleet = Fleet().healthy()
    fleet.alert(rule="pool nearly empty", instance="canary", severity="critical", state="firing",
                since_s=fleet.now_s, summary="18 of 20 in use")  # fmt: skip
    shown = "\n".join(drawn(frames.snapshot(fleet)))

    assert "critical firing since" in shown
    assert "pool nearly empty on canary (alpha): 18 of 20 in use" in shown


def test_every_state_is_a_word_and_an_icon_of_its_own() -> None:
    fleet = Fleet()
    fleet.beat()
    fleet.row(host__cpu__used_ratio=0.1)
    states = ("ready", "starting", "failed", "stopped")
    fleet.bots(*({"name": f"b-{state}", "state": state} for state in states))
    for is_plain in (False, True):
        lines = frame.draw(frames.snapshot(fleet), View(), Screen(100, 30, is_plain=is_plain))
        icons = set()
        for state in states:
            (row,) = (line.plain for line in lines if f"b-{state}" in line.plain[3:13])
            assert f" {state} " in row
            icons.add(row[1])
        assert len(icons) == len(states)


def test_plain_frames_are_ascii() -> None:
    lines = frame.draw(frames.found(), View(), Screen(160, None, is_plain=True))

    assert all(line.plain.isascii() for line in lines)


@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 33, 50, 80, 119, 400])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24, 100])
def test_a_frame_is_as_high_as_the_screen_and_never_wider(width: int, height: int) -> None:
    found = frames.found(hosts=3)
    for looks in (View(), View(help=True), View(typing=True, filter="c"), View(said="x" * 500),
                  View(asking=found["bots"][0])):  # fmt: skip
        lines = drawn(found, width=width, height=height, looks=looks)
        assert len(lines) == height
        assert max(cell_len(line) for line in lines) <= width


def test_a_narrow_screen_keeps_name_and_state() -> None:
    shown = drawn(frames.found(), width=30, height=10)

    assert any("canary   ready" in line for line in shown)


def test_a_low_screen_keeps_the_verdict_and_three_bots() -> None:
    fleet = frames.found(tuple(f"bot-{n:02}" for n in range(40)), hosts=2)
    shown = drawn(fleet, height=8)

    assert "80 bots are healthy" in shown[1]
    assert sum("bot-" in line for line in shown) >= 3


def test_the_marked_bot_is_in_sight_wherever_it_stands() -> None:
    found = frames.found(tuple(f"bot-{n:02}" for n in range(40)))
    for name in ("bot-00", "bot-20", "bot-39"):
        shown = drawn(found, looks=View(sort="name", selected=("host0", name)))
        (marked,) = (line for line in shown if line.startswith(">"))
        assert name in marked
        assert frame.page(found, View(), Screen(120, 24)) == sum("bot-" in line for line in shown)


def test_one_plain_frame_has_every_bot_and_neither_mark_nor_footer() -> None:
    found = frames.found(tuple(f"bot-{n:02}" for n in range(40)))
    shown = drawn(found, height=None)

    assert sum("bot-" in line for line in shown) == 40
    assert not any(line.startswith(">") or "q quit" in line for line in shown)


def test_a_name_of_wide_letters_does_not_shift_the_columns() -> None:
    wide = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 4
    rows = [line for line in drawn(frames.found((wide, "canary"))) if " ready " in line]

    places = {cell_len(line[: line.index(" ready ")]) for line in rows}
    assert len(rows) == 2
    assert len(places) == 1


def test_with_redis_away_a_banner_says_so_over_the_last_frame() -> None:
    fleet = Fleet().healthy()
    source = fleet.source()
    assert source.look()["problem"] is None
    fleet.shelf.away = True
    fleet.now_s += 30
    shown = "\n".join(drawn(source.look()))

    assert "! Redis at redis://***@db:6379/0 does not answer" in shown
    assert "UNKNOWN  The fleet can't be seen now." in shown
    assert "canary" in shown


def test_an_empty_fleet_says_what_to_run() -> None:
    nothing = snapshots.nothing(0.0, 10.0) | {"problem": None, "notices": []}
    shown = "\n".join(drawn(nothing))

    assert "Start the fleet: outrider up" in shown
    assert "no bots yet" in shown


def test_a_filter_that_nothing_passes_says_how_to_see_all() -> None:
    shown = "\n".join(drawn(frames.found(), looks=View(filter="zebra")))

    assert "no bot matches 'zebra'; Esc shows all" in shown
    assert "0 of 3 bots match 'zebra'" in shown


def test_help_names_every_key_that_sorts() -> None:
    shown = "\n".join(drawn(frames.found(), width=200, looks=View(help=True)))

    for words in ("c cpu", "m memory", "t restarts", "e err/min", "r restart the bot", "q quit"):
        assert words in shown


def test_a_question_says_how_many_instances_it_is_about() -> None:
    fleet = Fleet().healthy()
    fleet.bots(
        {"name": "canary", "bot": "canary", "state": "ready"},
        {"name": "canary-2", "bot": "canary", "state": "ready"},
        {"name": "echo", "bot": "echo", "state": "ready"},
    )
    found = frames.snapshot(fleet)
    asked = {
        bot["name"]: drawn(found, looks=View(asking=bot, filter="echo"))[-1].partition("?")[0]
        for bot in found["bots"]
    }

    assert asked["canary"] == " Restart canary on alpha, all 2 instances of it"
    assert asked["canary-2"] == " Restart canary-2 on alpha"
    assert asked["echo"] == " Restart echo on alpha"


def test_why_a_bot_is_down_goes_before_its_rates() -> None:
    fleet = Fleet().healthy()
    fleet.bots({"name": "canary", "state": "failed", "reason": "exit code 1"})
    (row,) = (line for line in drawn(frames.snapshot(fleet), width=80) if " failed " in line)

    assert row.endswith("exit code 1")


def test_a_bot_that_hangs_says_for_how_long() -> None:
    fleet = Fleet()
    fleet.beat()
    fleet.series("alpha", {"bot.canary.heartbeat_age_s": 75.0, "bot.canary.up": 1.0})
    fleet.bots({"name": "canary", "state": "ready"})

    assert "silent for 1m15s" in "\n".join(drawn(frames.snapshot(fleet)))


def test_a_silent_host_says_since_when_and_shows_no_old_numbers() -> None:
    fleet = Fleet().healthy()
    fleet.beat("beta", age_s=500)
    fleet.row("beta", age_s=600, host__cpu__used_ratio=0.77)
    (line,) = (
        line for line in drawn(frames.snapshot(fleet)) if "beta" in line and "silent" in line[:20]
    )

    assert "77%" not in line
