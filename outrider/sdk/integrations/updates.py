"""What all bot frameworks have: updates that arrive, handlers that run, errors, a backlog.

``updates`` and ``updates.KIND`` count, ``updates.age`` is how old an update was when it came,
``handle_update`` is how long one took with all that belongs to it, ``handler.NAME`` how long one of
its handlers; ``handle_update.errors``, ``handler.NAME.errors``, ``handler.NAME.cancelled`` and
``errors.TYPE`` count. ``updates.in_flight`` are being handled, ``updates.backlog`` wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.meter import Meter, Names, name_of, now, was_cancelled

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

MOST_KINDS = 40
MOST_HANDLERS = 60
MOST_ERRORS = 30


class Updates:
    """Updates and handlers of one bot."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._kinds = Names("updates", most=MOST_KINDS, ending=0)
        self._handlers = Names("handler", most=MOST_HANDLERS)
        self._errors = Names("errors", most=MOST_ERRORS, ending=0)
        self.in_flight = 0
        self._observe = meter.guard(meter.observe)
        self.waiting: list[Callable[[], float | None]] = []
        self.handled = meter.guard(self._handled)
        self.failed = meter.guard(self._failed)
        self.broken = meter.guard(self._broken)
        meter.bot.add_source(self.gauges)

    def gauges(self) -> dict[str, float]:
        """Return the gauges; a backlog that nobody could tell is left out."""
        values = {"updates.in_flight": float(self.in_flight)}
        known = [number for ask in self.waiting if (number := ask()) is not None]
        return values | ({"updates.backlog": float(sum(known))} if known else {})

    def begin(self) -> float:
        """Tell that an update is being handled from now on; give what this returns to :meth:`end`.

        >>> from outrider.sdk.bot import Bot
        >>> updates = Updates(Meter(Bot("doctest", transport=lambda _message: True)))
        >>> start = updates.begin()
        >>> updates.in_flight
        1
        >>> updates.end(start)
        >>> updates.in_flight
        0
        """
        self.in_flight += 1
        return now()

    def end(self, start: float) -> None:
        """Tell that an update was handled, one way or the other."""
        self.in_flight -= 1
        self._observe("handle_update", now() - start)

    def handler(self, callback: Any) -> str:
        """Return the name of a handler's timing, whatever the handler is. Never raises."""
        try:
            return self._handlers(name_of(callback))
        except Exception as fault:  # noqa: BLE001 - an odd callable must still be called
            self._meter.fault(self.handler, fault)
            return self._handlers("unnamed")

    def arrived(self, kind: str, sent_at_s: float | None = None) -> None:
        """Count an update, and its age when it says when it was sent. Guarded by who calls it."""
        self._meter.count("updates")
        self._meter.count(self._kinds(kind))
        if sent_at_s is not None:
            self._meter.observe("updates.age", max(0.0, time.time() - sent_at_s))

    def _handled(self, name: str, start: float, error: BaseException | None = None) -> None:
        self._meter.observe(name, now() - start)
        if error is not None:
            ending = "cancelled" if was_cancelled(error) else "errors"
            self._meter.count(f"{name}.{ending}")

    def _broken(self, name: str) -> None:
        """Count a handler's error that its framework kept from whoever timed it."""
        self._meter.count(f"{name}.errors")

    def _failed(self, error: BaseException, *, in_update: bool = True) -> None:
        if not was_cancelled(error):
            self._meter.count(self._errors(type(error).__name__))
            if in_update:
                self._meter.count("handle_update.errors")


def sent_at_s(content: Any) -> float | None:
    """Return when a Telegram update came to be, in Unix seconds; None when it does not say.

    A button press does not; what is edited counts from its edit.
    """
    date: dt.datetime | float | None = getattr(content, "edit_date", None) or getattr(
        content, "date", None
    )
    if not date:
        return None
    return date.timestamp() if hasattr(date, "timestamp") else float(date)
