"""Text from outside, fit to be shown: one line, nothing that steers what shows it, an end.

Names of bots, keys and statements, texts of errors and alerts are whatever somebody wrote. What is
not printable moves a cursor, turns the direction of writing, breaks a line or can't be encoded at
all. It is replaced, not dropped: that something was there should be seen. Markup is for each output
to escape in its own way.
"""

from __future__ import annotations

import unicodedata
from typing import Any

LONGEST = 2000
# What spreadsheets take for the beginning of a formula, in full width too.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def clean(value: Any, most: int = LONGEST) -> str:
    """Return text of ``most`` letters at most; one that is cut ends in an ellipsis.

    >>> clean("a" + chr(10) + "b") == "a" + chr(0xFFFD) + "b"
    True
    >>> clean("a long name", 6)
    'a lon…'
    """
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _shown(letter) for letter in text)


def _shown(letter: str) -> str:
    # Spaces that do not break, or have another width, are harmless.
    return " " if unicodedata.category(letter) == "Zs" else "\N{REPLACEMENT CHARACTER}"


def cell(value: Any) -> str:
    """Return text for a field of a CSV file that no spreadsheet runs as a formula.

    >>> cell("=1+1"), cell(" @sum"), cell("bot.canary")
    ("'=1+1", "' @sum", 'bot.canary')
    """
    text = clean(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
