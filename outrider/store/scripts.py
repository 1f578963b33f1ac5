"""The store's Lua scripts, and the quickest way to run one that is run for every row.

A script that the server does not know (it was restarted, or its scripts were flushed) is sent again
by itself.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

    Argument = str | bytes | int | float


class Script:
    """One of the ``*.lua`` files beside this module, on a client's server."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._redis = client
        self._text = resources.files("outrider.store").joinpath(f"{name}.lua").read_text("utf-8")
        # What names a script to the server; no secret hangs on it.
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run it and return its answer."""
        asked: Any = (*keys, *arguments)  # encoded as they are: text, bytes or numbers
        try:
            return self._redis.evalsha(self._sha, len(keys), *asked)
        except redis.exceptions.NoScriptError:
            self._redis.script_load(self._text)
            return self._redis.evalsha(self._sha, len(keys), *asked)

    def opening(self, keys: Sequence[str], arguments: int) -> bytes:
        """Return the beginning of a command that :meth:`send` takes, encoded once for many."""
        return counted(len(keys), arguments) + self.named(keys)

    def named(self, keys: Sequence[str]) -> bytes:
        """Return the same without its first line, :func:`counted`."""
        return encoded("EVALSHA", self._sha, len(keys), *keys)

    def send(self, command: bytes) -> Any:
        """Run it by a command that is encoded already: half the client's cost of a small call."""
        try:
            return self._sent(command)
        except redis.exceptions.NoScriptError:
            self._redis.script_load(self._text)
            return self._sent(command)

    def _sent(self, command: bytes) -> Any:
        pool = self._redis.connection_pool
        connection: Any = pool.get_connection()

        def exchange() -> Any:
            try:
                connection.send_packed_command((command,))
                return connection.read_response()
            except redis.ResponseError:
                raise
            except BaseException:
                connection.disconnect()  # the answer may still come: nobody else may read it
                raise

        try:
            return connection.retry.call_with_retry(exchange, lambda _: None)
        finally:
            pool.release(connection)


def counted(keys: int, arguments: int) -> bytes:
    r"""Return the first line of a script's command: of how many parts it is.

    >>> counted(2, 5)
    b'*10\r\n'
    """
    return b"*%d\r\n" % (3 + keys + arguments)


def encoded(*arguments: Argument) -> bytes:
    r"""Return arguments as Redis' protocol has them.

    >>> encoded("a", b"bc", 10)
    b'$1\r\na\r\n$2\r\nbc\r\n$2\r\n10\r\n'
    """
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])
