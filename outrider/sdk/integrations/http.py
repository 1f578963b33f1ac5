"""What HTTP clients have: requests by host and method, answers by class, waits, bytes.

``http.HOST.requests.METHOD`` is how long a request took, ``http.HOST.status.2xx`` counts answers,
``http.HOST.errors`` and ``http.errors.TYPE`` requests without one, ``http.HOST.limited`` refusals
for haste (429) and ``http.HOST.wait`` how long the server says to wait.
"""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

from outrider.sdk.integrations.meter import Names, now, was_cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outrider.sdk.integrations.meter import Meter

MOST_HOSTS = 16
MOST_ERRORS = 20
LONGEST_ENDING = len(".requests.options")
TOO_MANY_REQUESTS = 429
_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})


class Http:
    """Requests of one bot. A host goes by its name, dots as ``_``; ports and paths do not count."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._hosts = Names("http", most=MOST_HOSTS, ending=LONGEST_ENDING)
        self._errors = Names("http.errors", most=MOST_ERRORS, ending=0)
        self.answered = meter.guard(self._answered)
        self.failed = meter.guard(self._failed)
        self.received = meter.guard(self._received)

    def _answered(
        self, method: str, host: str, start: float, status: int, headers: Mapping[str, str]
    ) -> None:
        name = self._timed(method, host, start)
        self._meter.count(f"{name}.status.{status // 100}xx")
        if status == TOO_MANY_REQUESTS:
            self._meter.count(f"{name}.limited")
            wait_s = seconds(headers.get("Retry-After"), time.time())
            if wait_s is not None:
                self._meter.observe(f"{name}.wait", wait_s)

    def _failed(self, method: str, host: str, start: float, error: BaseException) -> None:
        name = self._timed(method, host, start)
        if was_cancelled(error):
            self._meter.count(f"{name}.cancelled")
        else:
            self._meter.count(f"{name}.errors")
            self._meter.count(self._errors(type(error).__name__))

    def _received(self, host: str, size_bytes: int) -> None:
        self._meter.count(f"{self._name(host)}.received_bytes", size_bytes)

    def _timed(self, method: str, host: str, start: float) -> str:
        name = self._name(host)
        known = method.lower()
        known = known if known in _METHODS else "other"
        self._meter.observe(f"{name}.requests.{known}", now() - start)
        return name

    def _name(self, host: str) -> str:
        return self._hosts(host.replace(".", "_"))


def seconds(retry_after: str | None, now_s: float) -> float | None:
    """Return what a ``Retry-After`` header says, in seconds from now; None when it says nothing.

    >>> seconds("3", 0.0), seconds("Thu, 01 Jan 1970 00:01:00 GMT", 50.0), seconds("soon", 0.0)
    (3.0, 10.0, None)
    """
    text = (retry_after or "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_s)
    except ValueError:
        return None
