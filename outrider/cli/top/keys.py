"""Bytes of a terminal as keys: ``up``, ``pagedown``, ``enter``, or the letter itself.

A key may come in pieces, and the key Esc is how many others begin: only a pause tells them apart.
"""

from __future__ import annotations

import codecs
import re

_NAMED = {
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[5~": "pageup", "\x1b[6~": "pagedown",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[7~": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x1b[8~": "end",
    "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "esc",
    "\x04": "eof", "\x0c": "redraw",
}  # fmt: skip
# ECMA-48: an introducer, parameters, one final letter; or an introducer and one letter.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O\x1b])")
_LONGEST = 32


class Decoder:
    """Turns what was read into keys, and keeps the beginning of one that is not complete."""

    def __init__(self) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    @property
    def waits(self) -> bool:
        """Whether a key has begun and may go on."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete now; those nobody knows are left out.

        >>> Decoder().feed(b"q\\x1b[Ax")
        ['q', 'up', 'x']
        """
        self._rest += self._text.decode(data)
        found = []
        while self._rest:
            taken = self._first()
            if taken is None:
                break
            self._rest = self._rest[len(taken) :]
            found.append(_NAMED.get(taken, taken))
        return [key for key in found if key.isprintable()]

    def flush(self) -> list[str]:
        """Return what is left after a pause: the key Esc, and nothing of a broken sequence."""
        rest, self._rest = self._rest, ""
        return ["esc"] if rest[:1] == "\x1b" and len(rest) <= 1 else []

    def _first(self) -> str | None:
        """Return the first key as it was sent; None while it may go on."""
        if self._rest[0] != "\x1b":
            return self._rest[0]
        if match := _SEQUENCE.match(self._rest):
            return match[0]
        if self._rest.startswith("\x1b\x1b"):
            return "\x1b"
        return self._rest if len(self._rest) > _LONGEST else None
