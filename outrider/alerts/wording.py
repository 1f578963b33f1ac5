"""What people read of alerts: plain text, of bounded length, whatever the names in it contain.

Names of bots and texts of errors come from outside. Here they lose what could break a line or steer
a terminal, and what is endless is cut; each channel escapes its own markup besides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from outrider import outside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from outrider.alerts.message import Message

LONGEST_NAME = 300


def clean(text: Any, most: int = LONGEST_NAME) -> str:
    """Return a text on one line, without control characters, and cut where it is too long.

    >>> clean("a" + chr(10) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return outside.clean(text, most)


def title(message: Message) -> str:
    """Return what a message says, as one sentence.

    What a message is about is said first: its severity, what happened, where.
    """
    if message.kind == "test":
        return "[info] test: Outrider can reach you here"
    status = _STATUS.get(message.kind, "firing")
    if not message.firing:
        status = "resolved"
    where = clean(message.labels.get("host", "")) or "several hosts"
    begin = f"[{message.severity}] {status} on {where}"
    if len(message.alerts) == 1 and message.firing + message.resolved == 1:
        return f"{begin}: {clean(message.alerts[0]['summary'])}"
    counts = [f"{message.firing} firing"] * bool(message.firing)
    counts += [f"{message.resolved} resolved"] * bool(message.resolved)
    about = clean(message.labels.get("rule", "")) or "several rules"
    return f"{begin}: {about}: {', '.join(counts)}"


_STATUS = {"reminder": "still firing", "escalation": "not acknowledged", "digest": "digest"}


def lines(message: Message) -> Iterator[str]:
    """Yield one line for each alert of a message, and one for those that it does not list."""
    for alert in message.alerts:
        ended = alert["to"] not in _ACTIVE
        state = "resolved" if ended else alert["to"].replace("_", " ")
        host = clean(alert["host"], 80)
        yield f"{state} on {host} since {at(alert['at_s'])}: {clean(alert['summary'])}"
    if message.unlisted:
        yield f"and {message.unlisted} more: `outrider alerts list` shows all"


_ACTIVE = ("firing", "recovering", "no_data", "error")


def text(message: Message, most: int = 3500) -> str:
    """Return the whole message: its title, then its alerts when there is more than one."""
    parts, left = [title(message)], most
    if message.level:
        parts.append(f"level {message.level} of escalation: nobody acknowledged it in time")
    if len(message.alerts) > 1 or message.unlisted:
        parts += list(lines(message))
    shown = []
    for part in parts:
        left -= len(part) + 1
        if left < 0:
            shown.append("…")
            break
        shown.append(part)
    return "\n".join(shown)


def at(time_s: float) -> str:
    """Return a moment, in UTC: those who read it may sit anywhere."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))


def spell(labels: Mapping[str, str]) -> str:
    """Return a matcher or labels as people write them.

    >>> spell({"host": "alpha", "rule": "bot is down"})
    "host=alpha rule='bot is down'"
    """
    return " ".join(
        f"{clean(name, 60)}={clean(value)!r}"
        if " " in value
        else f"{clean(name, 60)}={clean(value)}"
        for name, value in labels.items()
    )
