"""Routing without sockets: members that remember what they were given, and a clock by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from outrider.channel import problems
from outrider.channel.envelopes import (
    BadFrame,
    Call,
    Deliver,
    Offer,
    Publish,
    Reply,
    Request,
    Subscribe,
    decode_bodies,
    decode_body,
    encode,
)
from outrider.supervisor.channel import router as routers
from outrider.supervisor.channel.member import Member
from outrider.supervisor.channel.router import Router

_decode = msgspec.msgpack.Decoder(Deliver | Call | Reply).decode


class Fake(Member):
    def __init__(self, instance: str, bot: str = "") -> None:
        super().__init__(instance, bot or instance.rstrip("-0123456789"))
        self.given: list[Deliver | Call | Reply] = []
        self.room = True

    def give(self, envelope: bytes, *, urgent: bool, messages: int) -> bool:
        if urgent or self.room:
            self.given.append(_decode(envelope))
        return urgent or self.room

    @property
    def has_room(self) -> bool:
        return self.room

    def calls(self) -> list[Call]:
        return [each for each in self.given if isinstance(each, Call)]

    def answers(self) -> list[tuple[int, str, Any]]:
        return [
            (each.id, each.problem, decode_body(each.body))
            for each in self.given
            if isinstance(each, Reply)
        ]


class Host:
    """A router with a bot that asks, and servers."""

    def __init__(self, *servers: str, at_once: int = 1, only: str = "") -> None:
        self.now_s = 0.0
        self.router = Router(lambda bot, instance: not (bot or instance).startswith("nobody"))
        self.asker = self.join("asker")
        self.servers = [self.join(name) for name in servers]
        for server in self.servers:
            self.offer(server, at_once=at_once, only=only)
        self.last_id = 0

    def join(self, name: str) -> Fake:
        member = Fake(name)
        self.router.join(member, self.now_s)
        return member

    def offer(self, server: Fake, *, name: str = "load", at_once: int = 1, only: str = "") -> None:
        self.router.offer(server, Offer(name, at_once, only), self.now_s)

    def ask(self, bot: str | None = None, *, asker: Fake | None = None, **options: Any) -> int:
        self.last_id += 1
        if bot is None:
            bot = "" if "instance" in options else "market"
        usual: dict[str, Any] = {
            "id": self.last_id, "name": "load", "bot": bot,
            "instance": "", "within_s": 5.0, "idempotent": False, "body": Raw(encode(self.last_id)),
        }  # fmt: skip
        self.router.request(asker or self.asker, Request(**(usual | options)), self.now_s)
        return self.last_id

    def reply(self, server: Fake, call: Call, value: Any = "done", problem: str = "") -> None:
        self.router.reply(server, Reply(call.id, problem, Raw(encode(value))), self.now_s)

    @property
    def problems(self) -> list[str]:
        return [problem for _, problem, _ in self.asker.answers()]


def test_a_publication_reaches_who_subscribed_under_the_senders_name() -> None:
    host = Host("market", "market-2")
    host.router.subscribe(host.servers[0], Subscribe("prices", wanted=True))
    host.router.publish(host.asker, Publish("prices", Raw(encode([1, 2]))))

    (said,) = host.servers[0].given
    assert isinstance(said, Deliver)
    assert (said.topic, said.sender, decode_bodies(said.bodies)) == ("prices", "asker", [1, 2])
    assert host.servers[1].given == []


def test_a_slow_subscriber_loses_messages_and_others_do_not() -> None:
    host = Host("slow", "quick")
    for server in host.servers:
        host.router.subscribe(server, Subscribe("prices", wanted=True))
    host.servers[0].room = False
    host.router.publish(host.asker, Publish("prices", Raw(encode([1, 2, 3]))))

    assert len(host.servers[1].given) == 1
    totals = host.router.totals
    assert (totals.published, totals.delivered, totals.dropped) == (3, 3, 3)


def test_who_subscribes_no_more_hears_no_more() -> None:
    host = Host("market")
    for wanted in (True, False):
        host.router.subscribe(host.servers[0], Subscribe("prices", wanted))
    host.router.publish(host.asker, Publish("prices", Raw(encode([1]))))

    assert host.servers[0].given == []


def test_requests_go_to_the_least_loaded_instance() -> None:
    host = Host("market", "market-2", "market-3", at_once=10)
    for _ in range(6):
        host.ask()
    host.reply(host.servers[1], host.servers[1].calls()[0])
    host.ask()

    assert [len(server.calls()) for server in host.servers] == [2, 3, 2]


def test_an_instance_that_can_do_more_is_given_more() -> None:
    host = Host("market", "market-2")
    host.offer(host.servers[0], at_once=2)
    host.offer(host.servers[1], at_once=6)
    for _ in range(8):
        host.ask()

    assert [len(server.calls()) for server in host.servers] == [2, 6]


def test_one_instance_can_be_addressed() -> None:
    host = Host("market", "market-2", at_once=5)
    host.ask(instance="market-2")
    host.ask(instance="market-2")

    assert [len(server.calls()) for server in host.servers] == [0, 2]


def test_the_answer_comes_back_under_the_askers_number() -> None:
    host = Host("market")
    number = host.ask(body=Raw(encode({"key": 7})))
    (call,) = host.servers[0].calls()
    host.reply(host.servers[0], call, "value")

    assert (call.name, call.sender, decode_body(call.body)) == ("load", "asker", {"key": 7})
    assert host.asker.answers() == [(number, "", "value")]


def test_only_who_was_given_a_request_can_answer_it() -> None:
    host = Host("market", "market-2")
    host.ask(instance="market")
    (call,) = host.servers[0].calls()
    host.reply(host.servers[1], call, "forged")

    assert host.asker.answers() == []
    assert host.router.totals.stray_replies == 1


def test_what_is_beyond_waits_for_whoever_is_free_first() -> None:
    host = Host("market", "market-2")
    for _ in range(4):
        host.ask()
    assert host.router.work["market"].waiting == 2
    host.reply(host.servers[1], host.servers[1].calls()[0])

    assert [len(server.calls()) for server in host.servers] == [1, 2]
    assert host.router.work["market"].waiting == 1


def test_what_waits_goes_to_an_instance_that_was_started_meanwhile() -> None:
    host = Host("market")
    for _ in range(3):
        host.ask()
    new = host.join("market-2")
    host.offer(new, at_once=5)

    assert [decode_body(call.body) for call in new.calls()] == [2, 3]
    assert host.router.waiting_bytes == 0


def test_an_instance_without_room_gets_nothing_until_it_has_some() -> None:
    host = Host("market", at_once=5)
    host.servers[0].room = False
    host.ask()
    assert host.servers[0].calls() == []

    host.servers[0].room = True
    host.router.freed(host.servers[0], host.now_s)
    assert len(host.servers[0].calls()) == 1


def test_what_an_instance_had_is_lost_with_it() -> None:
    host = Host("market", "market-2")
    host.ask(instance="market")
    host.router.leave(host.servers[0], host.now_s)

    assert host.problems == [problems.LOST]
    assert host.router.work["market"].lost == 1


def test_what_may_be_done_twice_is_given_to_another() -> None:
    host = Host("market", "market-2")
    host.ask(idempotent=True)
    host.router.leave(host.servers[0], host.now_s)
    (call,) = host.servers[1].calls()
    host.reply(host.servers[1], call)

    assert host.problems == [""]


def test_what_kills_every_instance_is_not_given_out_for_ever() -> None:
    host = Host()
    host.ask(idempotent=True)
    for number in range(routers.MOST_TRIES):
        server = host.join(f"market-{number}")
        host.offer(server)
        host.router.leave(server, host.now_s)

    assert host.problems == [problems.LOST]


def test_who_waits_too_long_is_told_and_the_server_stays_busy() -> None:
    host = Host("market")
    host.ask(within_s=1.0)
    host.ask(within_s=2.0)
    assert host.router.expire(0.5) == 1.0
    assert host.router.expire(2.0) is None

    assert host.problems == [problems.LATE, problems.LATE]
    host.ask()
    assert len(host.servers[0].calls()) == 1, "it still does the first"
    host.reply(host.servers[0], host.servers[0].calls()[0])
    assert len(host.servers[0].calls()) == 2
    assert host.problems == [problems.LATE, problems.LATE], "a late answer is left out"


def test_a_bot_that_is_down_is_waited_for() -> None:
    host = Host()
    host.ask()
    assert host.problems == []

    host.offer(host.join("market"))
    assert len(next(m for m in host.router.instances("market")).running) == 1


def test_who_has_just_come_may_still_say_what_it_serves() -> None:
    host = Host()
    server = host.join("market")
    host.ask()
    assert host.problems == []

    host.offer(server)
    assert len(server.calls()) == 1


def test_what_a_bot_served_before_its_restart_is_waited_for() -> None:
    host = Host("market")
    host.router.leave(host.servers[0], host.now_s)
    host.join("market")
    host.now_s = routers.SETTLED_S
    host.ask()

    assert host.problems == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bot": "nobody"}, "no bot 'nobody' is supervised"),
        ({"instance": "nobody-2"}, "no bot 'nobody-2' is supervised"),
        ({"name": "lod"}, "market serves no such function: 'lod'"),
        ({"bot": ""}, "names a bot, or one instance"),
        ({"bot": "market", "instance": "market"}, "names a bot, or one instance"),
    ],
)
def test_what_will_never_be_answered_is_refused(options: dict[str, Any], why: str) -> None:
    host = Host("market")
    host.now_s = routers.SETTLED_S
    host.ask(options.pop("bot", None), **options)

    ((_, problem, text),) = host.asker.answers()
    assert problem == problems.REFUSED
    assert why in text
    assert host.asker.asked == 0


@pytest.mark.parametrize(("only", "problem"), [("asker", None), ("supervisor", problems.REFUSED)])
def test_a_function_may_be_served_to_one_only(only: str, problem: str | None) -> None:
    host = Host("market", only=only)
    host.ask()

    assert host.problems == ([problem] if problem else [])
    assert len(host.servers[0].calls()) == (0 if problem else 1)


def test_who_asks_too_much_is_told_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "MOST_ASKED", 3)
    host = Host("market")
    for _ in range(5):
        host.ask()
    other = host.join("other")
    host.ask(asker=other)

    assert host.problems == [problems.BUSY, problems.BUSY]
    assert other.answers() == []


def test_a_full_queue_turns_requests_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "MOST_WAITING", 2)
    host = Host("market")
    for _ in range(4):
        host.ask()

    assert host.problems == [problems.BUSY]
    assert host.router.work["market"].busy == 1


def test_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "MOST_WAITING_BYTES", 1000)
    host = Host()
    for _ in range(3):
        host.ask(body=Raw(encode(b"x" * 400)))

    assert host.problems == [problems.BUSY]


def test_nothing_stays_behind_of_an_asker_that_went_away() -> None:
    host = Host("market")
    for _ in range(3):
        host.ask()
    host.router.leave(host.asker, host.now_s)
    host.reply(host.servers[0], host.servers[0].calls()[0])

    assert len(host.servers[0].calls()) == 1, "what only it waited for is not done"
    assert (host.router.waiting_bytes, host.router.work["market"].waiting) == (0, 0)
    assert host.router.expire(100.0) is None


def test_work_tells_what_scaling_goes_by() -> None:
    host = Host("market")
    host.ask()
    host.ask()
    host.now_s = 2.0
    host.reply(host.servers[0], host.servers[0].calls()[0])
    host.now_s = 5.0
    host.reply(host.servers[0], host.servers[0].calls()[1], problem=problems.FAILED)
    work = host.router.work["market"]

    assert (work.arrived, work.answered, work.failed, work.running) == (2, 1, 1, 0)
    assert (work.waited_s, work.busy_s) == (2.0, 5.0)


@pytest.mark.parametrize("what", ["subscribe", "offer"])
def test_subscriptions_and_offers_are_bounded(what: str) -> None:
    host = Host()

    def one_more(number: int) -> None:
        if what == "offer":
            host.offer(host.asker, name=f"{number}")
        else:
            host.router.subscribe(host.asker, Subscribe(f"{number}", wanted=True))

    for number in range(256):
        one_more(number)
    with pytest.raises(BadFrame, match="more than 256"):
        one_more(256)


def test_deadlines_of_what_was_answered_do_not_pile_up() -> None:
    host = Host("market")
    for _ in range(5000):
        host.ask(within_s=3600.0)
        host.reply(host.servers[0], host.servers[0].calls()[-1])
        host.servers[0].given.clear()
        host.router.expire(host.now_s)

    assert len(host.router._deadlines) < 2000
