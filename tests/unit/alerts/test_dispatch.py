from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from outrider.alerts import acknowledgement, comments, delivery, groups, labels, log, silences
from outrider.errors import BadArgument, DeliveryError
from outrider.store import keys
from tests.unit.alerts.conftest import START_S, Fleet, Notebook, change

if TYPE_CHECKING:
    import redis

KEY = "alpha|bot is down|bot.canary.up"


def texts(fleet: Fleet) -> list[str]:
    return [f"{one.kind} {one.firing}/{one.resolved}" for one in fleet.told]


def test_what_fires_is_told_at_once_and_so_is_its_end(fleet: Fleet) -> None:
    fleet.fires("canary")
    assert fleet.run().told == 1
    fleet.clock.now_s += 60
    fleet.ends("canary")
    fleet.run()

    assert texts(fleet) == ["news 1/0", "news 0/1"]
    assert not fleet.client.hlen(keys.OUTBOX)
    assert fleet.run(3600).told == 0


def test_alerts_of_one_tick_share_a_message_and_of_other_rules_do_not(fleet: Fleet) -> None:
    fleet.happens(change("a"), change("b"), change("c", rule="bot crashed"))
    fleet.run()

    assert sorted(texts(fleet)) == ["news 1/0", "news 2/0"]


def test_a_group_that_changes_waits_for_its_interval(fleet: Fleet) -> None:
    fleet.fires("a")
    fleet.run()
    fleet.fires("b")
    assert fleet.run(10).told == 0
    fleet.ends("a")
    assert fleet.run(10).told == 0
    assert fleet.run(10).told == 1

    assert texts(fleet) == ["news 1/0", "news 1/1"]


def test_a_group_waits_for_more_before_its_first_message(client: redis.Redis) -> None:
    fleet = Fleet(client, notify={"group_wait_s": 20})
    fleet.fires("a")
    assert fleet.run().told == 0
    fleet.fires("b")
    assert fleet.run(19).told == 0
    fleet.run(1)

    assert texts(fleet) == ["news 2/0"]


def test_what_was_over_before_anybody_could_be_told_is_told_as_over(fleet: Fleet) -> None:
    fleet.fires("canary")
    fleet.clock.now_s += 1
    fleet.ends("canary")
    fleet.run()

    assert texts(fleet) == ["news 0/1"]


def test_changes_that_come_late_and_out_of_order_do_not_undo_newer_ones(fleet: Fleet) -> None:
    fleet.happens(change("canary", "inactive", at_s=START_S + 10))
    fleet.run()
    fleet.happens(change("canary", at_s=START_S))
    fleet.run(60)

    assert texts(fleet) == ["news 0/1", "news 1/0"], "its group was empty: nobody can know better"
    fleet.happens(change("a", at_s=START_S + 100))
    fleet.run(60)
    fleet.happens(change("a", "inactive", at_s=START_S + 50))
    assert fleet.run(60).told == 0


def test_what_lasts_is_repeated(client: redis.Redis) -> None:
    fleet = Fleet(client, notify={"repeat_s": "1h"})
    fleet.fires("canary")
    fleet.run()
    assert fleet.run(3599).told == 0
    assert fleet.run(1).told == 1
    assert fleet.run(1).told == 0

    assert texts(fleet) == ["news 1/0", "reminder 1/0"]


def test_what_is_acknowledged_is_not_repeated_and_its_end_is_told(client: redis.Redis) -> None:
    fleet = Fleet(client, notify={"repeat_s": "1h"})
    fleet.fires("canary")
    fleet.run()
    acknowledgement.add(client, [KEY], author="ann", now_s=fleet.clock.now_s)
    assert fleet.run(3700).told == 0
    assert fleet.run(3700).told == 0
    fleet.ends("canary")
    fleet.run(60)

    assert texts(fleet) == ["news 1/0", "news 0/1"]
    assert acknowledgement.read(client) == {}, "an acknowledgement ends with its alert"
    fleet.fires("canary")
    fleet.run(60)
    assert texts(fleet)[2:] == ["news 1/0"], "the next occurrence is nobody's yet"


def test_an_acknowledgement_before_the_message_spares_it(client: redis.Redis) -> None:
    fleet = Fleet(client, notify={"group_wait_s": 30})
    fleet.fires("canary")
    fleet.run()
    acknowledgement.add(client, [KEY], author="ann", now_s=fleet.clock.now_s)

    assert fleet.run(60).told == 0


@pytest.mark.parametrize("kind", ["ack", "snooze"])
def test_what_is_acknowledged_for_a_time_is_told_again_after_it(kind: str, fleet: Fleet) -> None:
    fleet.fires("canary")
    fleet.run()
    acknowledgement.add(
        fleet.client, [KEY], author="ann", now_s=fleet.clock.now_s, lasts_s=600, kind=kind,  # type: ignore[arg-type]
    )  # fmt: skip
    groups.wake(fleet.client, fleet.clock.now_s)
    assert fleet.run(1).told == 0
    assert fleet.run(598).told == 0
    assert fleet.run(1).told == 1
    assert fleet.run(1).told == 0
    assert acknowledgement.read(fleet.client) == {}


def test_an_acknowledgement_that_is_taken_back_tells_again(fleet: Fleet) -> None:
    fleet.fires("canary")
    fleet.run()
    acknowledgement.add(fleet.client, [KEY], author="ann", now_s=fleet.clock.now_s)
    acknowledgement.withdraw(fleet.client, [KEY], author="ann", now_s=fleet.clock.now_s)
    groups.wake(fleet.client, fleet.clock.now_s)
    fleet.run(60)

    assert texts(fleet) == ["news 1/0", "news 1/0"]
    done = [said["did"] for said in comments.read(fleet.client, alert=KEY)]
    assert done == ["took it back", "acknowledged"]


def test_nobody_is_told_of_what_is_silenced_until_the_silence_ends(fleet: Fleet) -> None:
    silences.add(fleet.client, {"bot": "can*"}, author="ann", now_s=fleet.clock.now_s, lasts_s=600)
    fleet.fires("canary", "other")
    fleet.run()
    assert [alert["instance"] for alert in fleet.told[0].alerts] == ["bot.other.up"]
    assert fleet.run(590).told == 0
    fleet.run(70)

    assert texts(fleet) == ["news 1/0", "news 2/0"]


def test_what_ends_while_silenced_is_told_only_to_those_who_know_of_it(fleet: Fleet) -> None:
    fleet.fires("known")
    fleet.run()
    silences.add(fleet.client, {"bot": "*n*"}, author="a", now_s=fleet.clock.now_s, lasts_s=600)
    fleet.fires("unknown")
    fleet.run(60)
    fleet.ends("known", "unknown")
    fleet.run(60)

    assert texts(fleet) == ["news 1/0", "news 0/1"]
    assert fleet.told[1].alerts[0]["instance"] == "bot.known.up"


def test_a_silence_that_is_ended_lets_people_be_told(fleet: Fleet) -> None:
    made = silences.add(fleet.client, {"bot": "c*"}, author="a", now_s=START_S, lasts_s=600)
    fleet.fires("canary")
    assert fleet.run().told == 0
    silences.end(fleet.client, made.id, START_S)
    groups.wake(fleet.client, START_S)

    assert fleet.run().told == 1
    assert silences.read(fleet.client, START_S) == []
    assert silences.read(fleet.client, START_S, ended=True)[0].author == "a"
    silences.expire(fleet.client, START_S + silences.KEPT_S + 1)
    assert silences.read(fleet.client, START_S, ended=True) == []


def test_a_weekly_silence_of_the_settings_holds_in_its_hours(client: redis.Redis) -> None:
    # 2026-11-23 was a Monday, 17:24 UTC at START_S.
    weekly = {"name": "backup", "match": {"bot": "canary"}, "when": ["mon 17:00-18:00"]}
    fleet = Fleet(client, silence=[weekly])
    fleet.fires("canary")
    assert fleet.run().told == 0
    assert fleet.run(3600).told == 1


@pytest.mark.parametrize("match", [{}, {"bot": "*"}, {"bot": "**", "host": "*"}])
def test_a_silence_of_everything_is_refused(match: dict[str, str], client: redis.Redis) -> None:
    with pytest.raises(BadArgument, match="not every alert"):
        silences.add(client, match, author="a", now_s=0, lasts_s=1)


def test_what_asks_for_no_time_or_no_such_thing_is_refused(client: redis.Redis) -> None:
    with pytest.raises(BadArgument, match="must last"):
        silences.add(client, {"bot": "a"}, author="a", now_s=0, lasts_s=0)
    with pytest.raises(BadArgument, match="no such silence"):
        silences.end(client, "nothing", 0)
    with pytest.raises(BadArgument, match="needs its time"):
        acknowledgement.add(client, [KEY], author="a", now_s=0, kind="snooze")
    with pytest.raises(BadArgument, match="longer than nothing"):
        acknowledgement.add(client, [KEY], author="a", now_s=0, lasts_s=-1)


def test_a_silent_host_hides_its_bots_and_a_restart_does_not_forget_it(fleet: Fleet) -> None:
    silent = change(
        rule="host is silent", host="fleet", instance="fleet.host.alpha.silent", at_s=START_S
    )
    fleet.happens(silent, change("canary"), change("far", host="beta"))
    fleet.run()
    told = sorted(alert["rule"] + alert["host"] for one in fleet.told for alert in one.alerts)
    assert told == ["bot is downbeta", "host is silentfleet"]

    reloaded = Fleet(fleet.client)  # another process, which has seen nothing
    reloaded._alerts, reloaded._tick = fleet._alerts, fleet._tick
    reloaded.clock = fleet.clock
    assert reloaded.run(120).told == 0
    over = change(
        "", "inactive", rule="host is silent", host="fleet", instance="fleet.host.alpha.silent",
        at_s=START_S + 130,
    )  # fmt: skip
    reloaded.happens(over)
    reloaded.run(10)
    reloaded.run(60)
    assert [one.alerts[0]["rule"] for one in reloaded.told] == ["host is silent", "bot is down"]


def test_alerts_that_hide_each_other_do_not_both_fall_silent(client: redis.Redis) -> None:
    both = [
        {"name": "1", "source": {"rule": "a"}, "target": {"rule": "b"}, "equal": ["host"]},
        {"name": "2", "source": {"rule": "b"}, "target": {"rule": "a"}, "equal": ["host"]},
    ]
    fleet = Fleet(client, inhibit=both)
    fleet.happens(change(rule="a"), change(rule="b"))
    fleet.run()

    assert [one.alerts[0]["rule"] for one in fleet.told] == ["a"]


def test_a_built_in_inhibition_can_be_taken_away(client: redis.Redis) -> None:
    off = {"name": "bot is down", "source": {"rule": "bot is down"}, "enabled": False}
    fleet = Fleet(client, inhibit=[off])
    fleet.happens(change(), change(rule="bot is silent"))

    assert fleet.run().told == 2


def test_a_budget_that_burns_fast_hides_its_slower_burn_alone(client: redis.Redis) -> None:
    fleet = Fleet(client)
    fleet.happens(
        change(rule="error budget burns fast", instance="slo.answers.by.canary.page"),
        change(rule="error budget burns", instance="slo.answers.by.canary.ticket"),
        change(rule="error budget burns", instance="slo.liveness.ticket"),
    )
    fleet.run()

    told = {alert["instance"] for one in fleet.told for alert in one.alerts}
    assert told == {"slo.answers.by.canary.page", "slo.liveness.ticket"}


def named(*names: str) -> list[Notebook]:
    return [Notebook(name) for name in names]


HOOKS = {"webhook": [{"name": name, "url": "https://h.example/"} for name in ("ops", "boss")]}


def test_who_is_next_is_called_in_while_nobody_acknowledges(client: redis.Redis) -> None:
    route = {"name": "all", "channels": ["log"], "escalate": ["15m: ops", "1h: boss"]}
    fleet = Fleet(client, notify=HOOKS, route=[route])
    log_, ops, boss = fleet.channels = named("log", "ops", "boss")
    fleet.fires("canary")
    fleet.run()
    fleet.run(899)
    assert (len(log_.told), len(ops.told)) == (1, 0)
    fleet.run(1)
    assert (ops.told[0].kind, ops.told[0].level) == ("escalation", 1)
    acknowledgement.add(client, [KEY], author="ann", now_s=fleet.clock.now_s)
    fleet.run(4000)
    assert boss.told == []
    fleet.ends("canary")
    fleet.run(60)

    assert ops.told[-1].resolved == 1, "who was called in hears of the end"
    assert boss.told == []


def test_the_first_route_that_matches_counts_unless_it_says_proceed(client: redis.Redis) -> None:
    routes = [
        {"name": "a", "match": {"severity": "critical"}, "channels": ["ops"], "proceed": True},
        {"name": "b", "match": {"bot": "can*"}, "channels": ["boss"]},
        {"name": "c", "channels": ["log"]},
    ]
    fleet = Fleet(client, notify=HOOKS, route=routes)
    log_, ops, boss = fleet.channels = named("log", "ops", "boss")
    fleet.fires("canary")
    fleet.fires("other", severity="warning")
    fleet.run()

    assert [len(one.told) for one in (log_, ops, boss)] == [1, 1, 1]


def test_in_quiet_hours_only_what_is_urgent_goes_out_and_the_rest_is_one_digest(
    client: redis.Redis,
) -> None:
    fleet = Fleet(client, route=[{"name": "all", "quiet": ["17:00-19:00"]}])
    fleet.fires("a", severity="warning", rule="r1")
    fleet.fires("b", severity="warning", rule="r2")
    fleet.fires("c", severity="critical", rule="r3")
    fleet.run()
    assert texts(fleet) == ["news 1/0"]
    waiting = delivery.waiting(client, ["log"])
    assert [one["next_s"] for one in waiting] == [1_795_460_400.0] * 2  # 19:00
    fleet.run(2 * 3600)

    assert texts(fleet) == ["news 1/0", "digest 2/0"]


def test_a_digest_collects(client: redis.Redis) -> None:
    fleet = Fleet(client, route=[{"name": "all", "digest_s": "1h", "urgent": "never"}])
    for rule in "abc":
        fleet.fires("x", rule=rule)
        fleet.run(60)
    assert texts(fleet) == []
    fleet.run(3600)

    assert texts(fleet) == ["digest 3/0"]


def test_a_storm_is_one_readable_message_with_flat_memory(fleet: Fleet) -> None:
    bots = [f"bot-{number}" for number in range(10_000)]
    fleet.fires(*bots)
    fleet.run()
    (one,) = fleet.told

    assert (one.firing, len(one.alerts), one.unlisted) == (10_000, 20, 9_980)
    assert len(one.dump()) < 20_000
    (entry,) = log.read(fleet.client)
    assert entry["text"].endswith("bot is down: 10000 firing")
    fleet.clock.now_s += 30
    fleet.happens(*(change(bot, "inactive", at_s=fleet.clock.now_s) for bot in bots[:2000]))
    tracemalloc.start()
    fleet.run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fleet.clock.now_s += 30
    fleet.happens(*(change(bot, at_s=fleet.clock.now_s) for bot in bots[:2000]))
    fleet.run()

    assert peak < 16 << 20
    assert texts(fleet)[1:] == ["news 8000/2000", "news 10000/0"]
    assert fleet.client.hlen(keys.OUTBOX) == 0
    fleet.ends(*bots)
    fleet.run(60)
    kept = {key.decode() for key in fleet.client.scan_iter("or:alerts:*")}
    assert not [key for key in kept if key.endswith((":members", ":told")) or "messages" in key]


def test_a_channel_that_fails_is_paused_and_told_the_state_of_things_later(fleet: Fleet) -> None:
    (channel,) = fleet.channels
    channel.error = DeliveryError("away", permanent=False)
    fleet.fires("a")
    fleet.run()
    assert delivery.waiting(fleet.client, ["log"])[0]["next_s"] == fleet.clock.now_s + 1
    assert log.read(fleet.client)[0]["next_s"] == fleet.clock.now_s + 1
    fleet.run(0.5)
    assert len(log.read(fleet.client)) == 1, "not asked during its pause"
    for _ in range(5):
        fleet.run(60)
    assert delivery.waiting(fleet.client, ["log"])[0]["open"]
    fleet.ends("a")
    fleet.fires("b")
    fleet.run(60)
    channel.error = None
    fleet.run(300)

    assert texts(fleet) == ["news 1/1"], "one message of how things are, and nothing lost"
    assert not delivery.waiting(fleet.client, ["log"])
    assert not delivery.health(fleet.client, "log").failures


def test_what_a_service_asks_for_is_honoured(fleet: Fleet) -> None:
    fleet.channels[0].error = DeliveryError("slow down", permanent=False, retry_after_s=90)
    fleet.fires("a")
    fleet.run()

    assert delivery.waiting(fleet.client, ["log"])[0]["next_s"] == START_S + 90


def test_what_can_never_arrive_is_given_up_and_the_log_says_so(fleet: Fleet) -> None:
    fleet.channels[0].error = DeliveryError("no such room", permanent=True)
    fleet.fires("a")
    assert fleet.run().told == 1
    (entry,) = log.read(fleet.client, alert="alpha|bot is down|bot.a.up")

    assert (entry["result"], entry["done"]) == ("gave up: no such room", True)
    assert not delivery.waiting(fleet.client, ["log"])


def test_a_channel_that_fails_does_not_keep_others_waiting(client: redis.Redis) -> None:
    fleet = Fleet(client, notify=HOOKS)
    log_, ops, boss = fleet.channels = named("log", "ops", "boss")
    ops.error = DeliveryError("away", permanent=False)
    fleet.fires("a")
    fleet.run()

    assert (len(log_.told), len(ops.told), len(boss.told)) == (1, 0, 1)


def test_a_rate_lets_some_through_and_combines_the_rest(client: redis.Redis) -> None:
    fleet = Fleet(client)
    fleet.channels = [Notebook(rate="2/60s")]
    for number in range(3):
        fleet.fires("x", rule=f"early {number}")
    fleet.run()
    assert len(fleet.told) == 2
    for number in range(5):
        fleet.fires("x", rule=f"late {number}")
    fleet.run(1)
    assert len(fleet.told) == 2
    fleet.run(29)

    assert texts(fleet)[2:] == ["digest 6/0"]


def test_what_waits_for_a_channel_that_was_taken_away_is_given_up(client: redis.Redis) -> None:
    fleet = Fleet(client, notify=HOOKS)
    fleet.channels = named("log", "ops")
    fleet.channels[1].error = DeliveryError("away", permanent=False)
    fleet.fires("a")
    fleet.run()
    fleet.set()
    fleet.reconcile()

    assert "no longer in the settings" in log.read(client)[0]["result"]
    assert not delivery.waiting(client, ["ops"])


def test_a_changed_route_takes_over_what_fires(client: redis.Redis) -> None:
    fleet = Fleet(client)
    fleet.fires("canary")
    fleet.run()
    fleet.set(route=[{"name": "new", "match": {"bot": "canary"}, "channels": ["log"]}])
    assert fleet.reconcile() == 2
    fleet.run(60)
    assert fleet.reconcile() == 0

    assert [one.route for one in fleet.told] == ["default", "new"]


def test_what_ended_unseen_is_ended(fleet: Fleet) -> None:
    fleet.fires("canary")
    fleet.run()
    fleet.client.delete(keys.alert_state("alpha"))
    assert fleet.reconcile() == 0, "it may be on its way"
    fleet.clock.now_s += 200
    assert fleet.reconcile() == 1
    fleet.run()

    assert texts(fleet) == ["news 1/0", "news 0/1"]


def test_a_sink_gets_all_alerts_and_is_reminded_of_what_people_have(client: redis.Redis) -> None:
    hook = {"webhook": [{"name": "sink", "url": "https://h.example/"}]}
    fleet = Fleet(client, notify={"repeat_s": "1h", **hook})
    person, sink = Notebook("log"), Notebook("sink", most_alerts=1000, is_sink=True)
    fleet.channels = [person, sink]
    fleet.fires(*(f"bot-{number}" for number in range(100)))
    fleet.run()
    every = [f"alpha|bot is down|bot.bot-{number}.up" for number in range(100)]
    acknowledgement.add(client, every, author="ann", now_s=fleet.clock.now_s)
    fleet.run(3700)

    assert [len(one.alerts) for one in sink.told] == [100, 100]
    assert [len(one.alerts) for one in person.told] == [20]


def test_labels_are_matched_without_backtracking() -> None:
    assert labels.matches({"bot": "*a" * 60 + "b"}, {"bot": "a" * 5000}) is False
    assert labels.matches({"bot": "a*b*c"}, {"bot": "a-b-b-c"})
    assert not labels.matches({"bot": "ab*ba"}, {"bot": "aba"})
    assert not labels.matches({"bot": "canary"}, {})
