"""A process of a fleet, for the tests of the cache; reads its part from the command line."""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
from typing import Any

import redis

from outrider.cache.calls import Call, canonical
from outrider.cache.codec import Codec
from outrider.cache.redis import RedisTier
from outrider.cache.tiered import TieredCache

KEYS = 6
PATIENT_S = 20.0  # a busy machine is no outage here


def cache_of(url: str, namespace: str, **terms: Any) -> TieredCache:
    remote = RedisTier(url, timeout_s=PATIENT_S)
    return TieredCache(namespace, ttl_s=600, codec=Codec("f"), remote=remote, **terms)


def wait_for_start(client: redis.Redis, namespace: str) -> None:
    client.incr(f"{namespace}:ready")
    while not client.exists(f"{namespace}:go"):
        time.sleep(0.005)


def flight(url: str, namespace: str, threads: str) -> dict[str, Any]:
    """Miss one key in many threads at once; say what each got."""
    client = redis.Redis.from_url(url)
    cache = cache_of(url, namespace)
    call = canonical(("one",), {})
    got: list[str] = []

    def load() -> str:
        number = client.incr(f"{namespace}:loads")
        time.sleep(0.3)
        return f"value {number}"

    everybody = threading.Barrier(int(threads))

    def ask() -> None:
        everybody.wait()
        got.append(cache.load(call, load))

    wait_for_start(client, namespace)
    workers = [threading.Thread(target=ask) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"got": got, "loads": cache.statistics.loads}


def hang(url: str, namespace: str) -> dict[str, Any]:
    """Take the lease of a key, say so, and never load it."""
    client = redis.Redis.from_url(url)

    def load() -> None:
        client.set(f"{namespace}:loading", 1)
        time.sleep(3600)

    cache_of(url, namespace).load(canonical(("one",), {}), load)
    return {}


class Stress:
    """Reads, changes and invalidates keys; says what every read may not have been older than.

    The truth of a key is a counter in Redis. Who changes it counts up, then invalidates; Redis
    numbers the invalidations. Each process says which numbers meant which truth, in which order it
    was told of them, and for every key and number of words it had been told of it when a read
    began, the oldest truth that such a read returned. The test puts the three together.
    """

    def __init__(self, url: str, namespace: str, seed: int, *, drops: bool) -> None:
        self.client = redis.Redis.from_url(url)
        self.namespace = namespace
        self.cache = cache_of(url, namespace)
        self.calls = [canonical((number,), {}) for number in range(KEYS)]
        self.told: dict[str, list[int]] = {call.key: [] for call in self.calls}
        self.meant: dict[int, int] = {}
        self.oldest: dict[str, int] = {}
        self.ended = threading.Event()
        self._seed = seed
        self._drops = drops
        self._mine = threading.local()
        remote: Any = self.cache._remote
        self._remote = remote
        self._hear, self._answer = self._remote.hearing._told, self._remote.answer
        self._remote.hearing._told, self._remote.answer = self._heard, self._answered

    def run(self, seconds: float) -> dict[str, Any]:
        threads = [threading.Thread(target=self._read, args=(number,)) for number in range(3)]
        threads.append(threading.Thread(target=self._change))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self.ended.set()
        for thread in threads:
            thread.join()
        self.client.incr(f"{self.namespace}:done")
        while self._number("done") < self._number("ready"):
            time.sleep(0.01)
        time.sleep(0.5)  # what is owed is sent, and the last words arrive
        settled = [self._load(call, 0) == self._number(call.key) for call in self.calls]
        return {
            "told": self.told,
            "meant": self.meant,
            "oldest": self.oldest,
            "settled": all(settled),
            "memory": self.cache.statistics.hits_memory,
            "connections": self._remote.link.connections,
            "hears": self._remote.hearing.by,
        }

    def _heard(self, name: str, text: str) -> None:
        self._hear(name, text)
        head, _, key = text.partition(":")
        if head[0] == "k":
            self.told[key].append(int(head[1:]))

    def _answered(self, space: Any, raw: Any) -> Any:
        if isinstance(raw, list) and raw[0] == b"told":
            self._mine.number = int(raw[2])
        return self._answer(space, raw)

    def _number(self, name: str) -> int:
        return int(self.client.get(f"{self.namespace}:{name}") or 0)

    def _load(self, call: Call, takes_s: float) -> Any:
        def load() -> int:
            value = self._number(call.key)
            time.sleep(takes_s)
            return value

        return self.cache.load(call, load)

    def _read(self, number: int) -> None:
        chance = random.Random(self._seed * 10 + number)
        while not self.ended.is_set():
            call = chance.choice(self.calls)
            place = f"{call.key} {len(self.told[call.key])}"
            found = self._load(call, chance.choice((0, 0, 0.001, 0.01)))
            self.oldest[place] = min(found, self.oldest.get(place, found))

    def _change(self) -> None:
        chance = random.Random(self._seed)
        while not self.ended.is_set():
            call = chance.choice(self.calls)
            now = self.client.incr(f"{self.namespace}:{call.key}")
            self._mine.number = None
            self.cache.invalidate(call.key)
            if self._mine.number is not None:
                self.meant[self._mine.number] = int(now)
            time.sleep(chance.uniform(0, 0.01))
            if self._drops and chance.random() < 0.02:
                self._remote.link._socket.shutdown(socket.SHUT_RDWR)


def stress(url: str, namespace: str, seed: str, seconds: str, drops: str) -> dict[str, Any]:
    """Be one of the processes of a :class:`Stress`."""
    one = Stress(url, namespace, int(seed), drops=drops == "drops")
    wait_for_start(one.client, namespace)
    return one.run(float(seconds))


if __name__ == "__main__":
    part, *arguments = sys.argv[1:]
    sys.stdout.write(json.dumps(globals()[part](*arguments)) + "\n")
