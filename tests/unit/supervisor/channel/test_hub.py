"""A real hub and real sockets: who is let in, what is bounded, what bad peers cannot do."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw as RawBody

from outrider.channel.envelopes import (
    Call,
    Deliver,
    Goodbye,
    Hello,
    Offer,
    Publish,
    Reply,
    Request,
    Subscribe,
    Welcome,
    array,
    encode,
    frame,
)
from outrider.supervisor.channel import hub as hubs
from tests.unit.channel.hubs import Running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "channel.sock", "canary") as hub:
        yield hub


def reason(running: Running) -> str:
    until(lambda: running.hub.closed)
    return str(running.hub.closed[-1]["reason"])


def test_the_socket_is_its_owners(running: Running) -> None:
    assert stat.S_IMODE(running.path.stat().st_mode) == 0o600


def test_a_bot_is_told_who_it_is(running: Running) -> None:
    with running.raw() as bot:
        bot.hello()
        until(lambda: running.snapshot()["totals"].get("sent_messages"))
        running.call(lambda: next(iter(running.hub._peers)).close("that is all"))

        assert bot.hear_all() == [Welcome("canary", "canary"), Goodbye("that is all")]


def test_a_stranger_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "KNOWN_WITHIN_S", 0.05)
    running.names = [""]
    with running.raw() as stranger:
        stranger.say(Hello(1), Publish("prices", array([b"\x01"])))

        assert stranger.hear_all() == []
    assert running.hub.refused == {"not a process of this supervisor": 1}
    assert running.snapshot()["totals"]["published"] == 0


def test_a_process_that_is_known_a_moment_later_is_let_in(running: Running) -> None:
    running.names = ["", "", "canary"]
    with running.raw() as bot:
        bot.hello()
        until(lambda: running.snapshot()["peers"])


def test_another_user_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "_CREDENTIALS", Credentials())
    with running.raw() as stranger:
        assert stranger.hear_all() == []
    assert running.hub.refused == {"another user": 1}


class Credentials:
    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return os.getpid(), os.getuid() + 1, 0


def test_a_process_of_another_namespace_is_nobody(running: Running) -> None:
    asked: list[int] = []
    running.hub._who = lambda pid: asked.append(pid) or ("canary", "canary")  # type: ignore[func-returns-value]

    assert running.hub._find(0) is None
    assert asked == []


def test_a_hub_without_descriptors_rests_and_lets_in_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "NO_ROOM_PAUSE_S", 0.05)
    listener = Full(running.hub._listener, times=2)
    running.hub._listener = listener  # type: ignore[assignment]
    with running.raw() as bot:
        bot.hello()
        until(lambda: running.snapshot()["peers"])
    assert running.hub.refused == {"Too many open files": 2}
    running.hub._listener = listener.real


class Full:
    """A listener whose process has no descriptor left, so many times."""

    def __init__(self, real: Any, *, times: int) -> None:
        self.real, self.times = real, times

    def fileno(self) -> int:
        return int(self.real.fileno())

    def accept(self) -> Any:
        self.times -= 1
        if self.times >= 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.real.accept()


@pytest.mark.parametrize("name", ["supervisor", "supervisor-2"])
def test_no_bot_speaks_as_the_supervisor(running: Running, name: str) -> None:
    running.names = [name]
    with running.raw() as bot:
        assert bot.hear_all() == []
    assert running.hub.refused == {"a bot can't be called supervisor": 1}


def test_connections_of_one_bot_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "MOST_PEERS_OF_ONE", 2)
    with running.raw() as first, running.raw() as second, running.raw() as third:
        assert third.hear_all() == []
        first.hello()
        second.hello()
    assert running.hub.refused == {"too many connections of one bot": 1}


@pytest.mark.parametrize(
    ("noise", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a frame of 1,195,725,856 bytes"),
        (b"\xff\xff\xff\xff", "a frame of 4,294,967,295 bytes"),
        (b"\0\0\0\0", "a frame of 0 bytes"),
        (b"\0\0\0\1\xc1", "not a frame"),
        (frame([encode(Hello(99))]), "version 99"),
        (frame([encode(Publish("t", RawBody(encode("no array"))))]), "not an array"),
        (frame([encode(Publish("t", RawBody(encode([0] * 5000))))]), "5,000 bodies"),
        (frame([encode(Welcome("a", "b"))]), "not a frame"),
    ],
)
def test_nonsense_closes_its_sender_with_a_reason(running: Running, noise: bytes, why: str) -> None:
    with running.raw() as bad:
        bad.socket.sendall(noise)
        (last,) = bad.hear_all()[-1:]

    assert isinstance(last, Goodbye)
    assert why in last.reason
    assert why in reason(running)
    assert [(name, what) for name, what, _ in running.told] == [("canary", "channel closed")]


def test_who_sent_nonsense_stays_out_for_a_while(running: Running) -> None:
    now = [100.0]
    running.hub._now = lambda: now[0]
    with running.raw() as bad:
        bad.socket.sendall(b"\0\0\0\0")
        bad.hear_all()
    with running.raw() as again:
        assert again.hear_all() == []
    assert running.hub.refused == {"sent nonsense a moment ago": 1}

    now[0] += hubs.STAYS_OUT_S
    with running.raw() as later:
        later.hello()
        until(lambda: running.snapshot()["peers"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_end_the_hub_or_leave_anything_behind(
    running: Running,
    noise: bytes,
    framed: bool,  # noqa: FBT001 - drawn by name
) -> None:
    running.hub._out_until_s.clear()
    with running.raw() as bad:
        bad.socket.sendall(len(noise).to_bytes(4, "big") + noise if framed else noise)
        bad.socket.shutdown(socket.SHUT_WR)
        bad.hear_all()
    until(lambda: not running.snapshot()["peers"])

    assert running.snapshot()["queued_bytes"] == 0
    assert len(running.hub._router.members) == 1, "the supervisor itself"


def test_half_a_frame_is_kept_and_others_go_on(running: Running) -> None:
    heard: list[Any] = []
    running.call(lambda: running.hub.desk.subscribe("t", lambda body, _: heard.append(body)))
    with running.raw() as slow, running.raw() as quick:
        slow.socket.sendall((1 << 20).to_bytes(4, "big") + b"\x91" * 100)
        quick.say(Publish("t", array([b"\x07"])))
        until(lambda: heard == [7])


def test_a_subscriber_that_does_not_read_loses_messages_and_stalls_nobody(
    running: Running,
) -> None:
    heard: list[Any] = []
    running.call(lambda: running.hub.desk.subscribe("t", lambda *_: heard.append(1)))
    with running.raw() as deaf, running.raw() as loud:
        deaf.say(Hello(1), Subscribe("t", wanted=True))
        until(lambda: any(peer["topics"] for peer in running.snapshot()["peers"]))
        body = encode(b"x" * 100_000)
        for _ in range(100):
            loud.say(Publish("t", array([body])))
        until(lambda: len(heard) == 100)
        snapshot = running.snapshot()

        assert 0 < snapshot["totals"]["dropped"] < 100
        assert 0 < snapshot["queued_bytes"] <= 4 << 20
        assert len(snapshot["peers"]) == 2, "a slow reader is not closed"


def test_who_does_not_read_its_own_answers_is_closed(running: Running) -> None:
    running.call(lambda: running.hub.desk.serve("big", lambda *_: b"x" * 500_000))
    with running.raw() as deaf:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may close any time
            for number in range(60):
                deaf.say(Request(number, "big", "supervisor", "", 5.0, False, RawBody(b"\xc0")))

        until(lambda: running.hub.closed)
        assert "does not read the answers" in reason(running)
    assert running.snapshot()["queued_bytes"] == 0


def test_requests_to_a_bot_that_does_not_read_wait_for_it(running: Running) -> None:
    running.names = ["market", "canary", "canary"]
    body = encode(b"x" * 100_000)
    with running.raw() as deaf:
        deaf.say(Hello(1), Offer("load", 1000))
        until(lambda: running.snapshot()["peers"])
        with running.raw() as asker:
            for number in range(60):
                asker.say(Request(number, "load", "market", "", 60.0, False, RawBody(body)))
            until(lambda: running.snapshot()["work"].get("market", {}).get("arrived") == 60)
            work = running.snapshot()["work"]["market"]
            assert work["waiting"] > 0
            assert work["waiting"] + work["running"] == 60

            thread = threading.Thread(target=answer, args=(deaf, 60))
            thread.start()
            until(lambda: running.snapshot()["work"]["market"]["answered"] == 60)
            thread.join()


def answer(bot: Any, many: int) -> None:
    from outrider.channel.envelopes import decode_to_bot
    from outrider.channel.splitter import Splitter

    splitter = Splitter(1 << 24)
    while many:
        for payload in splitter.feed(bot.socket.recv(65536)):
            for call in decode_to_bot(payload):
                if isinstance(call, Call):
                    bot.say(Reply(call.id, "", RawBody(b"\xc0")))
                    many -= 1


def test_the_sender_is_the_hubs_word(running: Running) -> None:
    running.names = ["market", "canary", "canary"]
    with running.raw() as market:
        market.say(Hello(1), Subscribe("t", wanted=True))
        until(lambda: running.snapshot()["peers"])
        with running.raw() as canary:
            canary.say(Publish("t", array([b"\x01"])))
            until(lambda: running.snapshot()["totals"]["delivered"] == 1)
        running.call(running.hub.close)
        (said,) = [each for each in market.hear_all() if isinstance(each, Deliver)]

    assert said.sender == "canary"


def test_a_successors_socket_is_left_alone(running: Running) -> None:
    first = running.hub
    running.open()
    running.call(first.close)

    assert running.path.exists()
    with running.raw() as bot:
        bot.hello()
        until(lambda: running.snapshot()["peers"])


def test_all_outboxes_together_are_bounded(running: Running) -> None:
    running.hub._budget.most_bytes = 1 << 20
    body = encode(b"x" * 100_000)
    deaf = [running.raw() for _ in range(5)]
    for each in deaf:
        each.say(Hello(1), Subscribe("t", wanted=True))
    until(lambda: sum(bool(peer["topics"]) for peer in running.snapshot()["peers"]) == 5)
    with running.raw() as loud:
        for _ in range(50):
            loud.say(Publish("t", array([body])))
        until(lambda: running.snapshot()["totals"]["published"] == 50)

        assert running.snapshot()["queued_bytes"] <= 1 << 20
    for each in deaf:
        each.socket.close()


def test_control_is_not_kept_waiting_by_a_flood(running: Running) -> None:
    running.names = ["market", "canary", "canary"]
    stop = threading.Event()
    with running.raw() as loud:
        loud.say(Hello(1))
        until(lambda: running.snapshot()["peers"])
        flood = threading.Thread(target=publish_until, args=(loud, stop))
        flood.start()
        channel = running.connected()
        answers = [channel.request("ping", n, bot="supervisor", within_s=10) for n in range(50)]

        assert [answer.result() for answer in answers] == list(range(50))
        stop.set()
        flood.join()


def publish_until(loud: Any, stop: threading.Event) -> None:
    noise = Publish("nobody listens", array([encode(b"x" * 200)] * 300))
    while not stop.is_set():
        loud.say(noise)
