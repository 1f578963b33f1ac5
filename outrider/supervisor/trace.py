"""Notes, in a bot that is started to be measured, when it has imported itself and when it connects.

Only a process with ``OUTRIDER_STARTUP_TRACE`` in its environment loads this. What connects in C,
such as libpq, is not seen and counts as the bot's own work.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import socket
import time
from typing import Any

VARIABLE = "OUTRIDER_STARTUP_TRACE"
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)
_LOOP_CONNECTS = ("create_connection", "create_unix_connection", "sock_connect")


def begin() -> None:
    """Note that the bot's code is imported, and from now on each connect."""
    path = os.environ[VARIABLE]
    _note(path, imported_s=time.monotonic())
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.type & socket.SOCK_DGRAM:  # our own telemetry; nothing is waited for
            plain(self, address)
            return
        from_s = time.monotonic()
        try:
            plain(self, address)
        finally:
            _note(path, from_s=from_s, to_s=time.monotonic())

    socket.socket.connect = connect  # type: ignore[assignment]
    loop_class: Any = type(loop := asyncio.new_event_loop())
    loop.close()
    for name in _LOOP_CONNECTS:
        setattr(loop_class, name, _timed(getattr(loop_class, name), path))


def import_times_ms(text: str) -> list[tuple[str, float]]:
    """Return the modules in the output of ``-X importtime``, by their own time, longest first.

    >>> import_times_ms("import time:       200 |       1500 |   json.decoder")
    [('json.decoder', 0.2)]
    """
    found = [(name, int(own_us) / 1e3) for own_us, name in _IMPORT.findall(text)]
    return sorted(found, key=lambda each: -each[1])


def _timed(connect: Any, path: str) -> Any:
    @functools.wraps(connect)
    async def timed(*args: Any, **kwargs: Any) -> Any:
        from_s = time.monotonic()
        try:
            return await connect(*args, **kwargs)
        finally:
            _note(path, from_s=from_s, to_s=time.monotonic())

    return timed


def _note(path: str, **what: float) -> None:
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - as cheap as it can be
        file.write(json.dumps(what) + "\n")
