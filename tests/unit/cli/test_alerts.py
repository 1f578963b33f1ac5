from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from outrider.alerts import defaults, dispatch, journal, ways
from outrider.alerts.state import Alert, Transition
from outrider.clock import SYSTEM
from outrider.settings import Settings
from outrider.store import connection
from outrider.store.redis import RedisStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider

CHANGE = Transition(
    "1", "bot is down", "bot.canary.up", "h", "critical", "pending", "firing", 1000.0, 100, 0.0,
    "bot is down: canary\x1b[2J",
)  # fmt: skip
FIRING = Alert(
    "bot is down", "bot.canary.up", "h", "critical", "firing", 1000.0, 0.0, 1000.0,
    summary="bot is down: canary\x1b[2J",
)  # fmt: skip


@pytest.fixture
def seeded(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis in which an alert fires, of which a channel was told."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    with connection.connect(valkey_url) as client:
        RedisStore("", client=client).append("h", 100, {"bot.canary.up": 0.0})
        journal.commit(client, "h", 100, [FIRING], [CHANGE])
        settings = Settings()
        dispatch.run(client, settings, SYSTEM, ways.of_settings(settings), ["h"])


@pytest.fixture
def empty(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ((), ["h", "critical", "firing", "bot is down: canary"]),
        (("--history",), ["h", "critical", "pending", "firing", "bot is down: canary"]),
        (("--told",), ["log", "written", "bot is down", "bot.canary.up", "firing"]),
    ],
)
def test_what_fires_what_changed_and_who_was_told_is_listed(
    flag: tuple[str, ...], words: list[str], outrider: Outrider
) -> None:
    said = outrider("alerts", "list", *flag)

    assert said.exit_code == 0
    assert all(word in said.stdout for word in words)
    assert "\x1b[2J" not in said.stdout


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ((), "state", "firing"),
        (("--history",), "from", "pending"),
        (("--told",), "result", "written"),
    ],
)
def test_lists_as_json_can_be_read(
    flag: tuple[str, ...], key: str, value: str, outrider: Outrider
) -> None:
    (entry,) = json.loads(outrider("alerts", "list", *flag, "--json").stdout)

    assert (entry["rule"], entry[key]) == ("bot is down", value)


@pytest.mark.usefixtures("seeded")
def test_as_many_are_listed_as_asked_for(valkey_url: str, outrider: Outrider) -> None:
    with connection.connect(valkey_url) as client:
        for tick in range(101, 106):
            journal.commit(client, "h", tick, [], [CHANGE])

    assert len(json.loads(outrider("alerts", "list", "--history", "--json").stdout)) == 6
    assert len(json.loads(outrider("alerts", "list", "--history", "-n", "2", "--json").stdout)) == 2


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("flag", "words"), [((), "nothing fires."), (("--history",), "nothing yet."),
                        (("--told",), "nothing yet.")],
)  # fmt: skip
def test_a_calm_fleet_is_said_to_be_calm(
    flag: tuple[str, ...], words: str, outrider: Outrider
) -> None:
    assert outrider("alerts", "list", *flag).stdout.strip() == words


def test_the_rules_in_force_are_listed_without_a_redis(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text('[[alert]]\nname = "mine"\nwhen = "x > 1 for 30s"\n')
    said = outrider("alerts", "list", "--rules")

    assert said.exit_code == 0
    for rule in defaults.BUILT_IN:
        assert rule.name in said.stdout
    assert "x > 1 for 30s" in said.stdout
    found = json.loads(outrider("alerts", "list", "--rules", "--json").stdout)
    assert len(found) == len(defaults.BUILT_IN) + 1


def test_a_rule_that_cannot_be_read_is_named(folder: Path, outrider: Outrider) -> None:
    (folder / "outrider.toml").write_text('[[alert]]\nname = "mine"\nwhen = "x"\n')
    said = outrider("alerts", "list", "--rules")

    assert said.exit_code == 2
    assert "expected a comparison" in said.stderr


@pytest.fixture
def recorded(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis with an hour of a bot that was down for two minutes."""
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    now = int(time.time() // 10)
    with connection.connect(valkey_url) as client:
        store = RedisStore("", client=client)
        for age in range(360, 0, -1):
            store.append("h", now - age, {"bot.canary.up": 0.0 if 100 < age <= 112 else 1.0})


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("rule", ["bot is down", "bot.*.up < 1 for 30s"])
def test_history_shows_what_a_rule_would_have_done(rule: str, outrider: Outrider) -> None:
    said = outrider("alerts", "test", rule, "--from", "2h")

    assert said.exit_code == 0
    assert "bot.canary.up" in said.stdout
    assert "would have fired 1 times on 1 instances; people would have been told 2 times" in (
        said.stdout
    )
    found = json.loads(outrider("alerts", "test", rule, "--from", "2h", "--json").stdout)
    assert [(each["host"], each["for_s"]) for each in found["fired"]] == [("h", 90.0)]
    assert found["rows"] == 360


@pytest.mark.usefixtures("recorded")
def test_a_rule_that_would_not_have_fired_says_how_near_it_was(outrider: Outrider) -> None:
    said = outrider("alerts", "test", "bot.*.up < 1 for 5m", "--from", "2h")

    assert "would not have fired. It began to hold 1 times, never long enough." in said.stdout


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no such rule",), "no rule is called 'no such rule'"),
        (("x >",), "column 4"),
        (("x > 1", "--from", "1h", "--to", "2h"), "is not before"),
        (("x > 1", "--host", "other"), "no such host"),
        (("missing.toml",), "missing.toml"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    arguments: tuple[str, ...], words: str, outrider: Outrider
) -> None:
    said = outrider("alerts", "test", *arguments)

    assert said.exit_code == 2
    assert words in said.stderr


@pytest.mark.usefixtures("seeded")
def test_an_alert_is_acknowledged_snoozed_commented_and_taken_back(outrider: Outrider) -> None:
    assert (
        "acknowledged: h|bot is down|bot.canary.up"
        in outrider("alerts", "ack", "bot=canary", "-m", "mine", "--for", "1h").stdout
    )
    (shown,) = json.loads(outrider("alerts", "list", "--json").stdout)
    assert (shown["ack"]["kind"], shown["ack"]["comment"]) == ("ack", "mine")
    assert outrider("alerts", "ack", "bot=canary", "--undo").exit_code == 0
    assert outrider("alerts", "snooze", "rule=bot is *", "--for", "5m").exit_code == 0
    assert outrider("alerts", "comment", "bot=canary", "a\x1b[2Jb").exit_code == 0
    said = outrider("alerts", "log", "--comments")

    assert "\x1b[2J" not in said.stdout
    done = json.loads(outrider("alerts", "log", "--comments", "--json").stdout)
    assert [one["did"] for one in done] == ["commented", "snoozed", "took it back", "acknowledged"]


@pytest.mark.usefixtures("seeded")
def test_a_silence_is_made_listed_and_ended(outrider: Outrider) -> None:
    assert outrider("alerts", "silences").stdout.strip() == "nothing is silenced."
    made = outrider("alerts", "silence", "host=h", "--for", "2h", "-m", "new disk").stdout
    name = made.partition(":")[0]
    assert all(word in outrider("alerts", "silences").stdout for word in (name, "host=h", "disk"))
    assert outrider("alerts", "unsilence", name).exit_code == 0
    assert json.loads(outrider("alerts", "silences", "--json").stdout) == []
    assert len(json.loads(outrider("alerts", "silences", "--ended", "--json").stdout)) == 1


@pytest.mark.usefixtures("seeded")
def test_the_log_says_who_was_told_and_as_csv_runs_no_formula(outrider: Outrider) -> None:
    assert outrider("alerts", "comment", "bot=canary", "=cmd()").exit_code == 0
    assert "written" in outrider("alerts", "log").stdout
    assert "nothing yet." in outrider("alerts", "log", "--waiting").stdout
    assert "'=cmd()" in outrider("alerts", "log", "--comments", "--csv").stdout


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("ack", "bot=nobody"), "No alert matches bot=nobody"),
        (("ack", "canary"), "'canary' picks no alert"),
        (("silence", "host=*", "--for", "1h"), "not every alert"),
        (("unsilence", "x"), "no such silence"),
        (("send-test", "pigeon"), "pigeon: no such channel. Known: log."),
    ],
)
def test_what_cannot_be_done_is_said(call: tuple[str, ...], words: str, outrider: Outrider) -> None:
    said = outrider("alerts", *call)

    assert said.exit_code == 2
    assert words in said.stderr


def test_tests_in_a_file_are_run_and_a_failure_ends_with_one(
    folder: Path, outrider: Outrider
) -> None:
    text = """
        [[test]]
        name = "{name}"
        series = {{ "bot.a.up" = "0x9" }}
        expect = [{{ at = "1m", rule = "bot is down", firing = [{firing}] }}]
    """
    good, bad = text.format(name="good", firing='"bot.a.up"'), text.format(name="bad", firing="")
    (folder / "t.toml").write_text(good)
    said = outrider("alerts", "test", "t.toml")
    assert (said.exit_code, said.stdout) == (0, "ok     good\n")

    (folder / "t.toml").write_text(good + bad)
    said = outrider("alerts", "test", "t.toml")
    assert said.exit_code == 1
    assert "FAILED bad" in said.stdout
    assert "expected none, found bot.a.up" in said.stdout
    outcomes = json.loads(outrider("alerts", "test", "t.toml", "--json").stdout)
    assert [(each["test"], len(each["failures"])) for each in outcomes] == [("good", 0), ("bad", 1)]


def test_a_test_message_tells_how_each_channel_fares(folder: Path, outrider: Outrider) -> None:
    hook = '[notify.webhook]\nurl = "http://127.0.0.1:1/"\n'
    (folder / "outrider.toml").write_text(hook)
    assert "log: written" in outrider("alerts", "send-test", "log").stdout
    said = outrider("alerts", "send-test")

    assert said.exit_code == 1
    assert "webhook: failed: webhook webhook: 127.0.0.1 is at 127.0.0.1" in said.stdout
