"""What a channel is. Adding one is copying a neighbour and naming it in ``alerts.ways``."""

from __future__ import annotations

from typing import Any, Protocol


class Channel(Protocol):
    """A way to tell people."""

    name: str

    def deliver(self, change: dict[str, Any]) -> str:
        """Tell of one change of state and return the result in a word or two.

        Blocks for at most ten seconds.

        Raises:
            DeliveryError: it did not arrive; ``permanent`` says whether another try can help.
        """
        ...


def has_ended(change: dict[str, Any]) -> bool:
    """Tell whether a change is the end of an alert."""
    return change["to"] in ("resolved", "inactive")


def words(change: dict[str, Any]) -> str:
    """Return a change as one sentence, on one line whatever its names contain."""
    status = change["to"]
    if has_ended(change):
        status = "resolved"
    elif change["from"] == change["to"] == "firing":
        status = "still firing"
    text = f"[{change['severity']}] {status} on {change['host']}: {change['summary']}"
    if "crash" in change:
        text += f" ({change['crash']['summary']})"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
