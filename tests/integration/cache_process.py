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

from outrider.cache.calls import canonical
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


def stress(url: str, namespace: str, seed: str, seconds: str, drops: str) -> dict[str, Any]:
    """Read, change and invalidate keys; say what every read may not have been older than.

    The truth of a key is a counter in Redis. Who changes it counts up, then invalidates; Redis numbers
    the invalidations. Each process says which numbers meant which truth, in which order it was told
    of them, and for every key and number of words it had been told of it when a read began, the
    oldest truth that such a read returned. The test puts the three together.
    """
    client = redis.Redis.from_url(url)
    cache = cache_of(url, namespace)
    remote: Any = cache._remote
    calls = [canonical((number,), {}) for number in range(KEYS)]
    told: dict[str, list[int]] = {call.key: [] for call in calls}
    meant: dict[int, int] = {}
    oldest: dict[str, int] = {}
    reads = 0
    ended = threading.Event()
    mine = threading.local()
    hear, answer = remote.hearing._told, remote.answer

    def heard(name: str, text: str) -> None:
        hear(name, text)
        head, _, key = text.partition(":")
        if head[0] == "k":
            told[key].append(int(head[1:]))

    def answered(space: Any, raw: Any) -> Any:
        if isinstance(raw, list) and raw[0] == b"told":
            mine.number = int(raw[2])
        return answer(space, raw)

    remote.hearing._told, remote.answer = heard, answered

    def truth(call: Any) -> int:
        return int(client.get(f"{namespace}:{call.key}") or 0)

    def load(call: Any, chance: random.Random) -> int:
        value = truth(call)
        time.sleep(chance.choice((0, 0, 0.001, 0.01)))
        return value

    def read(chance: random.Random) -> None:
        nonlocal reads
        while not ended.is_set():
            call = chance.choice(calls)
            words = len(told[call.key])
            found = cache.load(call, lambda call=call: load(call, chance))
            place = f"{call.key} {words}"
            oldest[place] = min(found, oldest.get(place, found))
            reads += 1

    def change(chance: random.Random) -> None:
        while not ended.is_set():
            call = chance.choice(calls)
            now = client.incr(f"{namespace}:{call.key}")
            mine.number = None
            cache.invalidate(call.key)
            if mine.number is not None:
                meant[mine.number] = now
            time.sleep(chance.uniform(0, 0.01))
            if drops == "drops" and chance.random() < 0.02:
                remote.link._socket.shutdown(socket.SHUT_RDWR)

    wait_for_start(client, namespace)
    parts = [random.Random(int(seed) * 10 + number) for number in range(4)]
    threads = [threading.Thread(target=read, args=(part,)) for part in parts[:3]]
    threads.append(threading.Thread(target=change, args=(parts[3],)))
    for thread in threads:
        thread.start()
    time.sleep(float(seconds))
    ended.set()
    for thread in threads:
        thread.join()
    client.incr(f"{namespace}:done")
    while int(client.get(f"{namespace}:done") or 0) < int(client.get(f"{namespace}:ready") or 0):
        time.sleep(0.01)
    time.sleep(0.5)  # what is owed is sent, and the last words arrive
    settled = [cache.load(call, lambda call=call: truth(call)) == truth(call) for call in calls]
    return {
        "reads": reads,
        "told": told,
        "meant": meant,
        "oldest": oldest,
        "settled": all(settled),
        "memory": cache.statistics.hits_memory,
        "connections": remote.link.connections,
        "hears": remote.hearing.by,
    }


if __name__ == "__main__":
    part, *arguments = sys.argv[1:]
    sys.stdout.write(json.dumps(globals()[part](*arguments)) + "\n")
