"""A hub in a loop and thread of its own, so that both ends can be tried in one process."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from outrider.channel.envelopes import VERSION, Hello, decode_to_bot, encode, frame
from outrider.channel.splitter import Splitter
from outrider.sdk.channel import Channel
from outrider.supervisor.channel.hub import Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from outrider.channel.envelopes import ToBot

    T = TypeVar("T")

SOON_S = 20.0


class Running:
    """A hub that takes the next connection for whoever ``names`` says next, or the last."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path = path
        self.names = list(names or ("canary",))
        self.bots = {"canary", "market", *(name.rstrip("-0123456789") for name in self.names)}
        self.told: list[tuple[str, str, str]] = []
        self.channels: list[Channel] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self.channels:
            channel.close()
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(asyncio.sleep(0))  # what was cancelled ends
        self._loop.close()

    def open(self) -> None:
        """Open a hub; another one after :meth:`close`."""
        self.hub = self.call(self._new)

    def close(self) -> None:
        self.call(self.hub.close)

    def _new(self) -> Hub:
        hub = Hub(
            self.path,
            who=self._who,
            known=lambda bot, instance: (bot or instance.rstrip("-0123456789")) in self.bots,
            tell=lambda *said: self.told.append(said),
        )
        hub.open()
        return hub

    def _who(self, pid: int) -> tuple[str, str] | None:
        if pid != os.getpid():
            return None
        name = self.names.pop(0) if len(self.names) > 1 else self.names[0]
        return (name, name.rstrip("-0123456789")) if name else None

    def call(self, function: Callable[[], T]) -> T:
        """Run something in the hub's loop."""

        async def run() -> T:
            return function()

        return self.run(run())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SOON_S)

    def ask(self, name: str, body: Any = None, **options: Any) -> Any:
        """Ask a bot in the supervisor's name."""

        async def ask() -> Any:
            return await self.hub.desk.request(name, body, **options)

        return self.run(ask())

    def channel(self) -> Channel:
        channel = Channel(str(self.path))
        self.channels.append(channel)
        return channel

    def connected(self) -> Channel:
        """Return a channel that the hub has admitted: its name is taken."""
        channel = self.channel()
        channel._start()
        until(lambda: channel.connected)
        return channel

    def snapshot(self) -> dict[str, Any]:
        return self.call(self.hub.snapshot)

    def raw(self) -> Raw:
        return Raw(self.path)


class Raw:
    """A connection that says what no bot of ours would."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(SOON_S)
        self.socket.connect(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *envelopes: Any) -> None:
        self.socket.sendall(frame([encode(each) for each in envelopes]))

    def hello(self) -> None:
        self.say(Hello(VERSION))

    def hear_all(self) -> list[ToBot]:
        """Read until the hub closes."""
        splitter, heard = Splitter(1 << 24), []
        while piece := self._recv():
            for payload in splitter.feed(piece):
                heard += decode_to_bot(payload)
        return heard

    def _recv(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


def until(condition: Callable[[], Any]) -> None:
    """Wait for something, at most a while."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)
