"""A load ahead, under the lease that loads on demand take.

So there is one mechanism: whoever misses the key meanwhile waits for this load, an invalidation
takes the lease away and with it the right to write, and a flush moves what is written out of reach.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import redis

from outrider.cache import keys
from outrider.cache.redis import LEASE_S, LONGEST_LOAD_S
from outrider.cache.space import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No value lives longer: nothing that is there is held to be fresh.
NEVER_FRESH_S = 10.0**9


class Fenced(Exception):  # noqa: N818 - no error: somebody was faster
    """What was loaded is not kept: it is newer elsewhere, being loaded, or was invalidated."""


def load(
    client: redis.Redis,
    namespace: str,
    key: str,
    *,
    version: str = "",
    fresh_s: float,
    make: Callable[[], tuple[bytes, float]],
) -> bool:
    """Write what ``make`` returns: a value as the cache keeps it, and the seconds it lives.

    Return False, without making anything, when a value is there that lives longer than ``fresh_s``.

    Raises:
        Fenced: somebody else loads it, or it was invalidated while it was made.
        Exception: whatever ``make`` raises; others may then load at once.
    """
    holder = os.urandom(8).hex()
    names = (namespace, version, key)
    found = _run(
        client, "acquire", names,
        holder, _ms(LEASE_S), "beside", _ms(fresh_s), _ms(LONGEST_LOAD_S),
    )  # fmt: skip
    if found[0] == b"value":
        return False
    if found[0] == b"held":
        raise Fenced
    epoch, token = found[1], found[3]
    try:
        with _renewed(client, names, token):
            message, life_s = make()
    except BaseException:
        with contextlib.suppress(redis.RedisError):  # the lease ends by itself
            _run(client, "release", names, token)
        raise
    done = _run(client, "store", names, epoch, token, message, _ms(life_s), holder, "", "")
    if done[0] != b"stored":
        raise Fenced
    return True


@contextlib.contextmanager
def _renewed(client: redis.Redis, names: tuple[str, ...], token: bytes) -> Iterator[None]:
    """Keep the lease while a load takes its time, as long as any load may take."""
    ended = threading.Event()
    gives_up_s = time.monotonic() + LONGEST_LOAD_S

    def renew() -> None:
        while not ended.wait(LEASE_S / 3) and time.monotonic() < gives_up_s:
            with contextlib.suppress(redis.RedisError):
                _run(client, "renew", names, token)

    threading.Thread(target=renew, name="outrider-lease", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _run(client: redis.Redis, script: str, names: tuple[str, ...], *arguments: Any) -> list[Any]:
    run = client.register_script(TEXT[script])
    return cast("list[Any]", run(keys=[keys.state(names[0])], args=[*names, *arguments]))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
