"""The next step beside what a driver says when it can't connect.

The error stays SQLAlchemy's, since bots catch that; the step is a note of it, which a traceback
shows (PEP 678).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

_REMEDIES = tuple(
    (re.compile(pattern), remedy)
    for pattern, remedy in (
        (
            r"password authentication failed|no password supplied|no pg_hba\.conf entry",
            (
                "the server refuses this role: mend user and password in the URL, or ask for a"
                " line in the server's pg_hba.conf."
            ),
        ),
        (r'role ".*" does not exist', "make the role: CREATE ROLE bot LOGIN PASSWORD '...'."),
        (
            r'database ".*" does not exist',
            "mend the database's name in the URL, or make it: CREATE DATABASE ...",
        ),
        (
            r"too many clients|remaining connection slots|too many connections",
            (
                "the server has no connection left: `outrider db pools` shows who has them, and"
                " `outrider db plan` what each bot should have."
            ),
        ),
        (
            r"starting up|shutting down|in recovery mode",
            "the server starts or stops: try again in a few seconds.",
        ),
        (
            r"could not translate host|failed to resolve|Name or service not known",
            "no host has that name: mend the host in the URL.",
        ),
        (
            r"Connection refused|No such file or directory|timeout expired|timed out|TimeoutError",
            "nothing answers at that address: start the server, or mend host and port in the URL.",
        ),
    )
)


def of(text: str) -> str | None:
    """Return what to do about a driver's error; None when we know no better than it says.

    >>> of('FATAL:  database "flete" does not exist')
    "mend the database's name in the URL, or make it: CREATE DATABASE ..."
    """
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(text)), None)


_PASSING = re.compile(
    r"too many clients|remaining connection slots|too many connections|starting up|shutting down"
    r"|in recovery mode|not yet accepting|Connection refused|Connection reset|Connect call failed"
    r"|No such file or directory|closed the connection|connection is bad|ConnectionRefusedError"
    r"|ConnectionResetError|TooManyConnections|CannotConnectNow"
)


def is_passing(error: BaseException) -> bool:
    """Tell whether a refused connect may be taken in a moment: a server that starts, or is full.

    >>> is_passing(OSError("Connection refused")), is_passing(OSError("password is wrong"))
    (True, False)
    """
    return _PASSING.search(f"{type(error).__name__}: {error}") is not None


_REFUSAL = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry"
    r'|(role|database) ".*" does not exist'
)


def is_refusal(error: BaseException) -> bool:
    """Tell whether the server knows what we ask for, and will say no again.

    >>> is_refusal(OSError('password authentication failed for user "bot"'))
    True
    """
    return _REFUSAL.search(str(error)) is not None


def note(context: sa.engine.ExceptionContext) -> None:
    """Add the next step to an error of a connect; a listener of ``handle_error``."""
    if context.connection is not None:
        return
    original = context.original_exception
    remedy = of(f"{type(original).__name__}: {original}")
    if remedy is not None and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.add_note(remedy)
    elif remedy is not None:
        original.add_note(remedy)
