"""The strip of a bot's last day: from rows and alerts to a letter a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.web.pages import ribbons

if TYPE_CHECKING:
    from tests.unit.web.conftest import Visitor
    from tests.unit.web.pages.conftest import Stored

STEP = ribbons.STEP_S


def letters(times_s: list[float], up: list[float]) -> str:
    return ribbons.strip(times_s, up, 0.0, ())[:3]


def test_a_short_absence_is_no_outage_and_a_long_one_is() -> None:
    times_s = [n * 10.0 for n in range(90)]
    assert letters(times_s, [1.0] * 90) == "u--"
    assert letters(times_s, [0.0] * 5 + [1.0] * 85) == "a--"
    assert letters(times_s, [0.0] * 20 + [1.0] * 70) == "d--"


def test_an_alert_shows_and_hides_no_outage_and_no_gap() -> None:
    fired = [(0.0, 3 * STEP)]
    assert ribbons.strip([0.0, STEP], [1.0, 0.0], 0.0, fired)[:4] == "ad--"


def test_an_alert_lasts_from_when_it_fired_until_its_next_change() -> None:
    def change(to: str, at_s: float, severity: str = "warning") -> dict[str, object]:
        return {"host": "alpha", "rule": "r", "instance": "bot.canary.up", "severity": severity,
                "to": to, "at_s": at_s}  # fmt: skip

    ended = [change("resolved", 30.0), change("firing", 20.0), change("pending", 10.0)]
    assert ribbons.alerting(ended, 0.0, 99.0) == {("alpha", "canary"): [(20.0, 30.0)]}
    assert ribbons.alerting(ended[1:], 0.0, 99.0) == {("alpha", "canary"): [(20.0, 99.0)]}
    assert ribbons.alerting([change("firing", 20.0, "info")], 0.0, 99.0) == {}
    assert ribbons.alerting(ended, 50.0, 99.0) == {}  # over before the day began


def test_all_bots_come_in_one_answer_those_that_never_spoke_too(
    stored: Stored, visitor: Visitor
) -> None:
    for ago in range(40):
        stored.row({"bot.canary.up": 1.0, "bot.owl.up": 0.0}, ticks_ago=ago)
    stored.bots({"name": "canary", "state": "ready"}, {"name": "mute", "state": "off"})
    answer = visitor.get("/api/ribbons").json()
    found = {one["name"]: one["steps"] for one in answer["ribbons"]}
    assert {name: len(steps) for name, steps in found.items()} == dict.fromkeys(
        ("canary", "mute", "owl"), ribbons.STEPS
    )
    assert set(found["canary"]) == {"u", "-"}
    assert set(found["owl"]) == {"d", "-"}
    assert set(found["mute"]) == {"-"}
    assert answer["start_s"] + ribbons.STEPS * answer["step_s"] > stored.now_s


def test_a_large_fleet_is_cut_and_says_so(stored: Stored, visitor: Visitor) -> None:
    stored.bots(*({"name": f"b{n}", "state": "off"} for n in range(ribbons.MOST_BOTS + 7)))
    stored.row({"host.cpu.used_ratio": 0.5})
    answer = visitor.get("/api/ribbons").json()
    assert (len(answer["ribbons"]), answer["left_out"]) == (ribbons.MOST_BOTS, 7)
