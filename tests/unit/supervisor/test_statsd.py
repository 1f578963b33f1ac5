"""Datagrams through a real socket into a real event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.settings import StatsdSettings
from outrider.supervisor import control, statsd
from outrider.supervisor.statsd import Listener
from outrider.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

SOON_S = 20.0
BURST = 10_000


def with_listener(test: Callable[[Listener], Coroutine[Any, Any, None]], host: str) -> None:
    async def run() -> None:
        listener = Listener(host, 0)
        listener.open()
        try:
            await test(listener)
        finally:
            listener.close()
            listener.close()

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def sender(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.address[0] else socket.AF_INET
    sending = socket.socket(family, socket.SOCK_DGRAM)
    sending.connect(listener.address)
    return sending


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_datagrams_are_added_up(host: str) -> None:
    async def test(listener: Listener) -> None:
        with sender(listener) as sending:
            sending.send(b"seen:1|c\nqueue:4|g")
            await until(lambda: listener.snapshot()["packets"] == 1)
            sending.send(b"seen:2|c")
            await until(lambda: listener.snapshot()["packets"] == 2)

        said = listener.snapshot()
        assert (said["counters"], said["gauges"]) == ({"seen": 3.0}, {"queue": 4.0})
        assert said["dropped"] == 0

    with_listener(test, host)


def test_the_largest_datagram_is_read_to_its_end() -> None:
    async def test(listener: Listener) -> None:
        with sender(listener) as sending:
            sending.send(b"\n".join(b"seen:1|c" for _ in range(7000)))
            await until(lambda: listener.snapshot()["packets"] == 1)

        assert listener.snapshot()["counters"] == {"seen": 7000.0}

    with_listener(test, "127.0.0.1")


def test_a_burst_starves_nobody_and_what_is_lost_is_counted() -> None:
    async def test(listener: Listener) -> None:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with sender(listener) as sending:
            for _ in range(BURST):  # without a pause: nobody takes any of it meanwhile
                sending.send(b"seen:1|c|#env:prod")
            busy = asyncio.ensure_future(others())
            await until(
                lambda: sum(listener.snapshot()[k] for k in ("packets", "dropped")) >= BURST
            )
            busy.cancel()

        said = listener.snapshot()
        assert said["counters"] == {"seen.env_prod": float(said["packets"])}
        assert said["packets"] + said["dropped"] == BURST
        # One at least for each batch.
        assert turns >= said["packets"] // statsd.LINES_AT_ONCE

    with_listener(test, "127.0.0.1")


def test_a_steady_stream_wakes_the_loop_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    drains = 0
    drain = Listener._drain

    def counted(self: Listener) -> None:
        nonlocal drains
        drains += 1
        drain(self)

    monkeypatch.setattr(Listener, "_drain", counted)

    async def test(listener: Listener) -> None:
        with sender(listener) as sending:
            for _ in range(200):
                sending.send(b"seen:1|c")
                await asyncio.sleep(0.0005)
            await until(lambda: listener.snapshot()["packets"] == 200)

    with_listener(test, "127.0.0.1")
    assert drains < 100


def test_an_address_that_is_taken_is_refused_with_a_remedy() -> None:
    async def test(listener: Listener) -> None:
        other = Listener(*listener.address)
        with pytest.raises(BadArgument, match=r"\[statsd\] can't listen on .*choose another"):
            other.open()
        other.close()

    with_listener(test, "127.0.0.1")


def test_a_host_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadArgument, match=r"host\.invalid"):
        Listener("host.invalid", 8125).open()


def test_it_is_off_unless_it_is_switched_on() -> None:
    assert statsd.of_settings(StatsdSettings()) is None
    assert statsd.of_settings(StatsdSettings(enabled=True)) is not None


@pytest.mark.parametrize("listens", [True, False])
def test_a_supervisor_hands_over_what_it_heard(tmp_path: Path, *, listens: bool) -> None:
    async def run() -> Any:
        listener = Listener("127.0.0.1", 0) if listens else None
        supervisor = Supervisor(
            run_dir=tmp_path / "run", logs_dir=tmp_path / "logs", statsd=listener
        )
        await supervisor.open()
        try:
            if listener:
                with sender(listener) as sending:
                    sending.send(b"seen:1|c")
                await until(lambda: listener.snapshot()["packets"] == 1)
            return await asyncio.to_thread(control.ask, tmp_path / "run", "snapshot")
        finally:
            await supervisor.close()

    said = asyncio.run(run())["statsd"]

    assert (said and said["counters"]) == ({"seen": 1.0} if listens else None)
