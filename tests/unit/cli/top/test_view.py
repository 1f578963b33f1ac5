from __future__ import annotations

from typing import Any

import pytest

from outrider.cli.top import columns, view
from outrider.cli.top.view import View


def bot(name: str, **said: Any) -> dict[str, Any]:
    return {
        "name": name, "host": "alpha", "host_key": "alpha", "state": "ready", "health": "ok",
        "reason": None, "uptime_s": 60.0, "restarts": 0.0, "cpu_ratio": 0.1, "rss_bytes": 1e6,
        "loop_lag_s": 0.001, "updates_per_min": 10.0, "errors_per_min": 0.0,
        "heartbeat_age_s": 0.5,
    } | said  # fmt: skip


BOTS = [bot("ant", cpu_ratio=0.2), bot("bee", cpu_ratio=0.9), bot("cat", cpu_ratio=None)]


def after(keys: str | list[str], looks: View | None = None, bots: Any = BOTS) -> View:
    looks = looks or View()
    for key in keys:
        looks, deed = view.press(looks, key, view.shown(looks, bots), page=2)
        assert deed is None, key
    return looks


def names(looks: View, bots: Any = BOTS) -> list[str]:
    return [each["name"] for each in view.shown(looks, bots)]


def test_the_worst_bots_are_first_unless_told_otherwise() -> None:
    bots = [bot("ant"), bot("bee", health="critical", state="failed"), bot("cat", health="warning")]

    assert names(View(), bots) == ["bee", "cat", "ant"]


def test_a_key_sorts_and_again_turns_round_and_the_unknown_stays_last() -> None:
    assert names(after("c")) == ["bee", "ant", "cat"]
    assert names(after("cc")) == ["ant", "bee", "cat"]
    assert names(after("ccc")) == ["bee", "ant", "cat"]
    assert names(after("cn")) == ["ant", "bee", "cat"]


@pytest.mark.parametrize("column", columns.BY_NAME)
def test_every_column_sorts_by_its_key_both_ways(column: str) -> None:
    looks = after(columns.BY_NAME[column].key, View(sort="cpu" if column == "name" else "name"))

    assert (looks.sort, looks.turned) == (column, False)
    assert set(names(looks)) == {"ant", "bee", "cat"}
    assert after(columns.BY_NAME[column].key, looks).turned


def test_no_key_has_two_meanings() -> None:
    taken = {"q", "Q", "p", "r", "/", "?", "j", "k", "y"}

    assert len(columns.BY_KEY) == len(columns.BY_NAME)
    assert not taken & columns.BY_KEY.keys()


def test_a_filter_is_typed_kept_and_cleared() -> None:
    looks = after(["/", "B", "x", "backspace"])

    assert (looks.filter, looks.typing, names(looks)) == ("B", True, ["bee"])
    kept = after(["enter"], looks)
    assert (kept.filter, kept.typing) == ("B", False)
    assert names(after(["esc"], kept)) == ["ant", "bee", "cat"]
    assert after(["esc"], looks) == View()


def test_while_typing_no_letter_is_a_command() -> None:
    looks = after(["/", *"qrp"])

    assert (looks.filter, looks.asking, looks.paused) == ("qrp", None, False)


def test_a_filter_has_an_end() -> None:
    assert len(after(["/", *"x" * 5000]).filter) == view.LONGEST_FILTER


def test_the_filter_also_finds_hosts_and_states() -> None:
    bots = [bot("ant", state="failed"), bot("bee", host="beta")]

    assert names(View(filter="FAIL"), bots) == ["ant"]
    assert names(View(filter="beta"), bots) == ["bee"]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (["down"], 1), (["down", "up"], 0), (["up"], 0), (["down"] * 9, 2), (["end"], 2),
        (["end", "home"], 0), (["pagedown"], 2), (["pagedown", "pageup"], 0), (["j", "j", "k"], 1),
    ],
)  # fmt: skip
def test_arrows_move_the_mark_and_stop_at_the_ends(keys: list[str], place: int) -> None:
    looks = after(keys)

    assert place == view.place(looks, view.shown(looks, BOTS))


def test_the_marked_bot_stays_marked_when_the_order_changes() -> None:
    looks = after(["n", "down", "c"])  # bee, then by CPU

    assert names(looks)[view.place(looks, view.shown(looks, BOTS))] == "bee"


def test_a_restart_is_asked_for_and_only_y_does_it() -> None:
    asked = after(["n", "down", "r"])
    assert asked.asking is not None
    assert asked.asking["name"] == "bee"

    done, deed = view.press(asked, "y", BOTS, page=2)
    assert (done.asking, deed) == (None, view.Deed("restart", BOTS[1]))
    for key in ("n", "enter", "esc", "q", "r", " "):
        left, deed = view.press(asked, key, BOTS, page=2)
        assert (left.asking, left.said, deed) == (None, "not restarted", None)


def test_the_bot_that_was_asked_about_is_restarted_also_when_the_order_changed_meanwhile() -> None:
    asked = after(["n", "r"])
    _, deed = view.press(asked, "y", [BOTS[2], BOTS[1]], page=2)

    assert deed == view.Deed("restart", BOTS[0])


@pytest.mark.parametrize("key", ["q", "Q", "eof"])
def test_q_and_the_end_of_the_terminal_leave(key: str) -> None:
    assert view.press(View(), key, [], page=1)[1] == view.Deed("quit")


@pytest.mark.parametrize("key", ["r", "down", "up", "home", "end", "pagedown", "x", "?", "p", "/"])
def test_without_bots_no_key_does_harm(key: str) -> None:
    looks, deed = view.press(View(), key, [], page=1)

    assert (looks.asking, looks.selected, deed) == (None, None, None)


def test_p_pauses_and_goes_on() -> None:
    assert after("p").paused
    assert not after("pp").paused
