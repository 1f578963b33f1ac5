"""What every bot's API has: calls by method, refusals by code, and being told to wait.

``api.METHOD`` is how long a call took, each attempt by itself; ``api.METHOD.errors`` and
``api.status.CODE`` (or ``api.errors.TYPE``, when no answer came) count what failed;
``api.METHOD.limited`` counts refusals for haste, ``api.METHOD.wait`` is how long the wait is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.sdk.integrations.meter import Names, now, was_cancelled

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Meter

MOST_METHODS = 60
MOST_ERRORS = 20
TOO_MANY_REQUESTS = 429


class Api:
    """Calls of one bot."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._names = Names("api", most=MOST_METHODS)
        self._errors = Names("api.errors", most=MOST_ERRORS, ending=0)
        self.ended = meter.guard(self._ended)
        self.unanswered = meter.guard(self._unanswered)
        self.refused = meter.guard(self._refused)
        self.waited = meter.guard(self._waited)

    def _ended(self, method: str, start: float, error: BaseException | None = None) -> None:
        name = self._names(method)
        self._meter.observe(name, now() - start)
        if error is not None:
            self._meter.count(f"{name}.{'cancelled' if was_cancelled(error) else 'errors'}")

    def _unanswered(self, error: BaseException) -> None:
        if not was_cancelled(error):
            self._meter.count(self._errors(type(error).__name__))

    def _refused(self, method: str, status: int, wait_s: float | None = None) -> None:
        self._meter.count(f"api.status.{status:d}")
        if status == TOO_MANY_REQUESTS:
            self._meter.count(f"{self._names(method)}.limited")
            if wait_s is not None:
                self._waited(method, wait_s)

    def _waited(self, method: str, seconds: float) -> None:
        self._meter.observe(f"{self._names(method)}.wait", seconds)
