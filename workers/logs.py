"""What workers and beat log: a message is one line with an end, whatever stands in it.

Names, keys and texts of errors come from outside. A line break in one could write an entry that
never was, an escape sequence could steer the terminal of whoever reads the file.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

LONGEST = 20_000


class OneLine(logging.Filter):
    r"""Writes what is not printable as Python would: a line break as ``\n``.

    Tracebacks keep their lines.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record's message where it must be; let every record pass."""
        text = str(record.msg) if not record.args else record.getMessage()
        shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
        if not shown.isprintable():
            shown = "".join(map(_escaped, shown))
        if shown is not text:
            record.msg, record.args = shown, None
        return True


def install() -> None:
    """Have the loggers that Celery sets up write one line a message."""
    signals.after_setup_logger.connect(_guard, weak=False, dispatch_uid="outrider.one_line")
    signals.after_setup_task_logger.connect(
        _guard, weak=False, dispatch_uid="outrider.one_line.tasks"
    )


def _guard(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        handler.addFilter(OneLine())


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
