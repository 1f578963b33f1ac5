"""A TCP proxy before a server's unix socket that can swallow, cut, and change what is said."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Proxy:
    """Forwards to a unix socket. While ``swallows``, what either side says vanishes."""

    def __init__(self, path: str, change: Callable[[bytes], bytes] = bytes) -> None:
        self._path = path
        self._change = change
        self.swallows = False
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._forward, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with client, server:
            try:
                server.connect(self._path)
                while not self._closed:
                    for side in select.select([client, server], [], [], 0.05)[0]:
                        said = side.recv(65536)
                        if not said:
                            return
                        if self.swallows:
                            continue
                        if side is client:
                            server.sendall(said)
                        else:
                            client.sendall(self._change(said))
            except OSError:
                return
