"""Where a bot's frames go: to the supervisor's socket, or to Redis when nobody supervises it."""

from __future__ import annotations

import os
from typing import Any, Protocol

# A collector looks every tick; whoever was away for longer than this fills no gap any more.
MISSED_FOR_S = 3600
MISSED_MOST = 10_000


class Transport(Protocol):
    """Takes an encoded frame. Returns False when it could not be handed over.

    One that also has ``missed``, of the same shape, is given there what it could not take before:
    oldest first, and after a frame that is newer than all of them. One that has
    ``wait_for_room(within_s) -> bool`` is tried again when that says so.
    """

    def __call__(self, message: bytes) -> bool:
        """Send without blocking."""
        ...


class Datagram:
    """Sends to the supervisor's socket. Opened anew when the supervisor was replaced."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: Any = None

    def __call__(self, message: bytes) -> bool:
        """Send, without blocking. False: the queue is full, or nobody listens."""
        import socket

        for _ in range(2):
            try:
                if self._socket is None:
                    self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                    self._socket.setblocking(False)
                    self._socket.connect(self._path)
                self._socket.send(message)
            except BlockingIOError:
                return False
            except OSError:
                self.close()
            else:
                return True
        return False

    def wait_for_room(self, within_s: float) -> bool:
        """Wait until the supervisor's queue has room again. False: it had none, or is gone."""
        import select

        poll = select.poll()  # select.select takes no descriptor above 1023
        try:
            poll.register(self._socket, select.POLLOUT)
        except (TypeError, ValueError):  # there is none, or it was closed just now
            return False
        return bool(poll.poll(within_s * 1000))

    def close(self) -> None:
        """Close the socket; the next frame opens it anew."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


class ToRedis:
    """Leaves the frame in Redis, where the collector of this host finds it."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Any = None

    def __call__(self, message: bytes) -> bool:
        """Leave a frame in the place of the one before. False: Redis does not answer."""
        import redis

        from outrider.store import connection, keys

        try:
            self._client = self._client or connection.connect(self._url, timeout_s=0.5)
            self._client.hset(keys.frames(_host()), self._name, message)
        except redis.RedisError:
            return False
        return True

    def missed(self, message: bytes) -> bool:
        """Leave an older frame in the list from which the collector fills its gaps."""
        import redis

        from outrider.store import keys

        key = keys.missed_frames(_host())
        try:
            with self._client.pipeline() as pipe:
                pipe.rpush(key, message)
                pipe.ltrim(key, -MISSED_MOST, -1)
                pipe.expire(key, MISSED_FOR_S)
                pipe.execute()
        except redis.RedisError:
            return False
        return True

    def close(self) -> None:
        """Close the connection; the next frame opens it anew."""
        if self._client is not None:
            self._client.close()
        self._client = None


def _host() -> str:
    import socket

    return os.environ.get("OUTRIDER_HOST") or socket.gethostname().split(".")[0].lower()
