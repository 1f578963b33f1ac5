"""Tells by its exit code whether one part of the stack works: a container's health check.

It asks for the part's effect, not for its process: a worker that lives and consumes nothing is ill.
Bots that are down are no reason here: that is an alert, and a restart of the supervisor no cure.
A check runs again and again beside what it checks, so each imports only what it needs.
"""  # noqa: INP001 - a script of the image, no package

from __future__ import annotations

import sys
import time
import urllib.request
from typing import TYPE_CHECKING, TypeVar

from outrider.errors import OutriderError, RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from outrider.settings import Settings

# A worker's heartbeat comes every two seconds, and fails to come when its consumer hangs.
HEARTBEAT_LATE_S = 15.0
TIMEOUT_S = 3.0
Answer = TypeVar("Answer")


class Ill(OutriderError):  # noqa: N818 - reads as the message it is
    """A part does not work; the text says what is missing."""


def worker() -> None:
    """Look for this host's heartbeat in Redis."""
    from outrider.store import keys

    settings = _settings()
    at_s = _ask(settings, lambda client: client.zscore(keys.HOSTS, settings.host))
    if at_s is None or time.time() - at_s > HEARTBEAT_LATE_S:
        raise Ill(f"no heartbeat of {settings.host} within {HEARTBEAT_LATE_S:.0f} s.")


def beat() -> None:
    """Look whether a beat holds the lease: this one, or the one it stands by for."""
    from outrider.store import keys

    if not _ask(_settings(), lambda client: client.exists(keys.LEASE)):
        raise Ill("no beat holds the lease.")


def bots() -> None:
    """Look whether the supervisor obeys its socket."""
    from outrider.supervisor import control

    control.ask(_settings().run_dir(), "snapshot", timeout_s=TIMEOUT_S)


def flower() -> None:
    """Look whether Flower answers."""
    _get("http://127.0.0.1:5555/healthcheck")


def dashboard() -> None:
    """Look whether the dashboard answers; whether the fleet is measured is its /readyz."""
    _get("http://127.0.0.1:8787/healthz")


def _settings() -> Settings:
    from outrider import settings

    return settings.load()


def _ask(settings: Settings, question: Callable[[redis.Redis], Answer]) -> Answer:
    import redis

    from outrider.store import address, connection

    url = address.redis_url(settings)
    try:
        with connection.connect(url, timeout_s=TIMEOUT_S) as client:
            return question(client)
    except redis.RedisError as error:
        raise RedisUnavailable(f"{connection.without_password(url)}: {error}.") from None


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_S):  # noqa: S310 - our own address
        pass


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check for check in (worker, beat, bots, flower, dashboard)
}


def main(arguments: list[str]) -> int:
    """Run the check of one part; print why it is ill."""
    if arguments not in [[part] for part in CHECKS]:
        sys.stderr.write(f"name one part: {', '.join(CHECKS)}\n")
        return 2
    try:
        CHECKS[arguments[0]]()
    except (OutriderError, OSError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
