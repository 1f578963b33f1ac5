"""What a channel is. Adding one is copying a neighbour and naming it in ``alerts.ways``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from outrider.alerts.message import Message


class Channel(Protocol):
    """A way to tell people.

    ``rate`` is how many messages it takes in what time, such as ``30/60s``. ``most_alerts`` is how
    many a message lists. A *sink* is a machine that does its own grouping: it gets each message by
    itself, and is reminded also of what people have acknowledged.
    """

    name: str
    rate: str
    most_alerts: int
    is_sink: bool

    def deliver(self, message: Message) -> str:
        """Tell of a group of alerts and return the result in a word or two.

        Blocks for at most ten seconds. May be called again with the same message, whose ``id`` is
        then the same.

        Raises:
            DeliveryError: it did not arrive; ``permanent`` says whether another try can help.
        """
        ...
