"""Why a request got no answer: the word on the wire, and the error that a caller sees."""

from __future__ import annotations

from outrider.errors import (
    ChannelBusy,
    ChannelError,
    ChannelLost,
    ChannelRefused,
    ChannelTimeout,
    RequestFailed,
)

FAILED, BUSY, LATE, LOST, REFUSED = "failed", "busy", "late", "lost", "refused"
_ERRORS: dict[str, type[ChannelError]] = {
    FAILED: RequestFailed,
    BUSY: ChannelBusy,
    LATE: ChannelTimeout,
    LOST: ChannelLost,
    REFUSED: ChannelRefused,
}


def error(problem: str, text: str) -> ChannelError:
    """Return the error for a problem; a word that is unknown here is a failure.

    >>> error("late", "nobody answered")
    ChannelTimeout('nobody answered')
    """
    return _ERRORS.get(problem, RequestFailed)(text)


def word(raised: ChannelError) -> str:
    """Return the problem that an error stands for.

    >>> word(ChannelTimeout("nobody answered"))
    'late'
    """
    kinds = (word for word, kind in _ERRORS.items() if isinstance(raised, kind))
    return next(kinds, FAILED)
