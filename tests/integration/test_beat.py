"""Two real beats on one real server: every tick once, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis

from outrider.store import connection, keys, queues
from tests.servers.valkey import Server
from tests.tasks.nodes import ProcessContainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TAKEN_OVER_WITHIN_S = 10.0


class Beats:
    """Two beats, and the ticks that they sent; no worker takes anything from the queue."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder, appendonly=True)
        self.server.start()
        kept = {n: value for n, value in os.environ.items() if not n.startswith("OUTRIDER_")}
        env = kept | {
            "OUTRIDER_REDIS_URL": self.server.url, "OUTRIDER_INTERVAL_S": "1",
            "OUTRIDER_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        argv = [sys.executable, "-m", "outrider", "beat"]
        self.beats = [
            ProcessContainer(name, argv, cwd=folder, env=env, ready_prompt="beat: ")
            for name in ("first", "second")
        ]
        for beat in self.beats:
            beat.ready()

    def ticks(self) -> list[int]:
        try:
            waiting = connection.connect(self.server.url).lrange(queues.ANALYSIS, 0, -1)
        except redis.ConnectionError:
            return []
        messages: list[dict[str, Any]] = [json.loads(text) for text in waiting]
        return sorted(
            message["headers"]["outrider_tick"]
            for message in messages
            if message["headers"]["task"] == "outrider.collect.fleet"
        )

    def leader(self) -> ProcessContainer:
        holder = connection.connect(self.server.url).get(keys.LEASE)
        assert isinstance(holder, bytes)
        pid = int(holder.decode().split(":")[1])
        return next(beat for beat in self.beats if beat.pid == pid)

    def until(self, what: Callable[[], bool], within_s: float = 15.0) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, f"not within {within_s:.0f} s"
            time.sleep(0.05)

    def close(self) -> None:
        for beat in self.beats:
            beat.teardown()
        self.server.kill()


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    both = Beats(tmp_path)
    yield both
    both.close()


def test_the_second_beat_takes_over_and_no_tick_is_sent_twice(beats: Beats) -> None:
    beats.until(lambda: len(beats.ticks()) >= 3)
    beats.leader().kill("SIGKILL")
    sent = len(beats.ticks())

    beats.until(lambda: len(beats.ticks()) >= sent + 3, TAKEN_OVER_WITHIN_S + 3)

    assert max(Counter(beats.ticks()).values()) == 1


def test_a_leader_that_was_stopped_can_not_send_what_its_successor_sent(beats: Beats) -> None:
    beats.until(lambda: len(beats.ticks()) >= 2)
    stopped = beats.leader()
    os.kill(stopped.pid, signal.SIGSTOP)
    sent = len(beats.ticks())
    beats.until(lambda: len(beats.ticks()) >= sent + 2, TAKEN_OVER_WITHIN_S + 3)
    os.kill(stopped.pid, signal.SIGCONT)
    sent = len(beats.ticks())
    beats.until(lambda: len(beats.ticks()) >= sent + 2)

    assert max(Counter(beats.ticks()).values()) == 1


def test_both_beats_outlive_a_server_restart(beats: Beats) -> None:
    beats.until(lambda: len(beats.ticks()) >= 2)
    before = beats.ticks()
    beats.server.kill()
    beats.until(lambda: any("Redis is away" in beat.logs() for beat in beats.beats))
    beats.server.start()
    beats.until(lambda: len(beats.ticks()) >= len(before) + 2)

    assert [beat.status for beat in beats.beats] == ["running", "running"]
    assert set(before) <= set(beats.ticks())
    assert max(Counter(beats.ticks()).values()) == 1
