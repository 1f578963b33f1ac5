"""Who holds a connection, since when, from where, and what for.

A *hold* is one checkout, from when a caller has its connection until it gives it back. It keeps how
much of the time the database worked for it, how long its transaction stood idle, and which
statements it ran, so that three faults show that no pool tells of:

- a **leak**: a connection that is held longer than its own place in the code ever held one, and for
  which nothing runs. It is told with the stack that took it;
- a **call outside inside a transaction**: most of a transaction spent elsewhere, such as in an API.
  A pool ten times as large would be needed for the same work;
- **N+1**: the same statement again and again in one transaction, where one statement would do.

Where a connection was taken is kept as code and offset, which costs a fifth of a microsecond a
frame; file names and lines are looked up only when there is something to tell.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from outrider.database import calls

if TYPE_CHECKING:
    from types import CodeType, FrameType

# A statement that ran more often than this in one transaction is asked in a loop.
MOST_REPEATS = 10
# Longer pauses part one burst of statements from the next, also where nothing is committed.
BURST_S = 1.0
# Idle in a transaction: below this nobody would mend it.
EXTERNAL_LEAST_S = 0.1
EXTERNAL_RATIO = 0.5
# A handler should have answered by then; what never came back from its place gets more.
LEAK_AFTER_S = 10.0
LEAK_AFTER_UNKNOWN_S = 60.0
# Of the longest that the same place in the code ever held one.
LEAK_FACTOR = 3.0
MOST_RAN = 1000
_MOST_SITES = 1000
# Of a thread's stack.
_SHOWN = 5
# Frames that every checkout has, whoever asked for it.
_INNER_FOLDERS = (
    str(Path(sa.__file__).parent), str(Path(__file__).parent.parent), "<sqlalchemy generated",
)  # fmt: skip
_INNER_FILES = {contextlib.__file__: True}

Site = tuple[Any, ...]


class Hold:
    """One checkout under way. Written by the thread or task that has the connection only."""

    __slots__ = (
        "began_s", "busy_s", "held_s", "idle_s", "now_idle_s", "ran", "running", "site", "taken_s",
        "thread", "told", "until_s", "waited_s",
    )  # fmt: skip

    def __init__(self, taken_s: float, waited_s: float, site: Site) -> None:
        self.taken_s = self.until_s = taken_s
        self.waited_s = waited_s
        self.site = site
        self.thread = threading.get_ident()
        self.began_s = 0.0  # of the transaction; 0: none
        self.busy_s = self.idle_s = self.now_idle_s = self.held_s = 0.0
        self.ran: list[str] | None = None  # the statements of late
        self.running = self.told = False


def place_of(hold: Hold) -> tuple[int, int]:
    """Return what names the place in the code that took the connection."""
    site = hold.site
    return (id(site[0]), site[1]) if site else (0, 0)


class History:
    """The longest hold of each place in the code; places keep their code alive, so ids stay."""

    def __init__(self) -> None:
        self._longest: dict[tuple[int, int], tuple[float, Site]] = {}

    def add(self, hold: Hold) -> None:
        """Note a hold that ended."""
        site = hold.site
        place = (id(site[0]), site[1]) if site else (0, 0)
        known = self._longest.get(place)
        if known is None:
            if len(self._longest) < _MOST_SITES:
                self._longest[place] = hold.held_s, site
        elif hold.held_s > known[0]:
            self._longest[place] = hold.held_s, known[1]

    def longest_s(self, hold: Hold) -> float | None:
        """Return the longest hold of the same place before; None when none ever ended."""
        known = self._longest.get(place_of(hold))
        return known[0] if known else None

    def is_leak(self, hold: Hold, now_s: float) -> bool:
        """Tell whether a hold looks forgotten: too long for its place, and nothing runs for it."""
        longest_s = self.longest_s(hold)
        if longest_s is None:
            limit_s = LEAK_AFTER_UNKNOWN_S
        else:
            limit_s = max(LEAK_AFTER_S, LEAK_FACTOR * longest_s)
        unused_s = 0.0 if hold.running else now_s - hold.until_s
        return now_s - hold.taken_s > limit_s and unused_s > LEAK_AFTER_S


def is_external(hold: Hold, now_s: float) -> bool:
    """Tell whether the transaction that ends now stood idle for most of its time."""
    idle_s = hold.now_idle_s
    return idle_s > EXTERNAL_LEAST_S and idle_s > EXTERNAL_RATIO * (now_s - hold.began_s)


def end_transaction(hold: Hold) -> None:
    """Begin anew: the transaction is over."""
    hold.idle_s += hold.now_idle_s
    hold.began_s = hold.now_idle_s = 0.0


def repeated(ran: list[str]) -> list[str]:
    """Return the statements that were run more often than is well.

    >>> repeated(["a", "b"] * 11 + ["c"])
    ['a', 'b']
    """
    if len(ran) <= MOST_REPEATS:
        return []
    return [text for text, times in Counter(ran).items() if times > MOST_REPEATS]


def caller(depth: int, *, asynchronous: bool = False) -> Site:
    """Return who asked for a connection: code and offset of the innermost frames not of ours.

    ``depth`` is how far up the search begins.
    """
    # Looking at a frame makes an object of it, jumping over it costs nothing; and callers mostly
    # are as far away as they were the last time.
    try:
        inner = sys._getframe(_USUAL[0])  # noqa: SLF001
    except ValueError:
        inner = sys._getframe()  # noqa: SLF001
    if inner.f_code.co_filename in _INNER_FILES:
        frame = inner.f_back
        if frame is not None and not _is_inner(frame):
            return _frames(frame)
    return _searched(depth + 1, asynchronous=asynchronous)


_USUAL = [8]


def _searched(depth: int, *, asynchronous: bool) -> Site:
    frame: FrameType | None = sys._getframe(depth)  # noqa: SLF001
    away = depth
    while frame is not None and _is_inner(frame):
        frame = frame.f_back
        away += 1
    if frame is None and asynchronous:
        # SQLAlchemy's asyncio runs in a greenlet; who awaits it is in the one above.
        frame = _above()
        while frame is not None and _is_inner(frame):
            frame = frame.f_back
    else:
        _USUAL[0] = away - 2  # the innermost of the inner ones, seen from caller()
    return _frames(frame)


def _is_inner(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file in _INNER_FILES:
        return True
    if file.startswith(_INNER_FOLDERS):
        _INNER_FILES[file] = True
        return True
    return False


def _frames(frame: FrameType | None) -> Site:
    if frame is None:
        return ()
    above = frame.f_back
    if above is None:
        return (frame.f_code, frame.f_lasti)
    return (frame.f_code, frame.f_lasti, above.f_code, above.f_lasti)


def _above() -> FrameType | None:
    import greenlet

    parent = greenlet.getcurrent().parent
    return parent.gr_frame if parent is not None else None


def words(site: Site) -> str:
    """Return a place in the code as people read it, innermost first."""
    frames = [
        f"{code.co_filename}:{_line(code, lasti)} in {code.co_qualname}"
        for code, lasti in zip(site[::2], site[1::2], strict=True)
    ]
    return "\n    ".join(frames) or "(unknown)"


def stack_of(thread: int) -> str:
    """Return where a thread is now, innermost first."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way
    found: list[Any] = []
    while frame is not None and len(found) < 2 * _SHOWN:
        if not _is_inner(frame):
            found += (frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return words(tuple(found)) if found else "(it has ended)"


def _line(code: CodeType, offset: int) -> int:
    for begin_at, end_at, line in code.co_lines():
        if begin_at <= offset < end_at and line:
            return line
    return code.co_firstlineno


def is_autocommit(connection: Any) -> bool:
    """Tell whether each statement is its own transaction, as far as the driver says."""
    try:
        return connection.autocommit is True
    except AttributeError:
        return getattr(connection, "isolation_level", "") in {None, "autocommit"}


class Holds:
    """The holds of one process: those under way, and the cost of those that ended."""

    def __init__(self) -> None:
        self.open: set[Hold] = set()
        self.history = History()
        self.ended: deque[Hold] = deque()
        self.waits = calls.Cost()
        self._lock = threading.Lock()
        self._cost = calls.Cost()
        self._outside_s = self._idle_s = 0.0

    def end(self, hold: Hold, now_s: float) -> None:
        """Take a hold back. Never waits."""
        self.open.discard(hold)
        hold.held_s = now_s - hold.taken_s
        self.ended.append(hold)
        if len(self.ended) >= calls.FOLD_AT and self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def gave_up(self, waited_s: float) -> None:
        """Count a wait after which there was no connection."""
        with self._lock:
            self.waits.add(waited_s)

    def total(self, *, anew: bool = False) -> Total:
        """Return what all holds that ended came to; ``anew``: look for the longest from now on."""
        with self._lock:
            self._fold()
            return Total(
                self._cost.copy(anew=anew), self.waits.copy(anew=anew), self._outside_s,
                self._idle_s,
            )  # fmt: skip

    def overdue(self, now_s: float) -> list[Hold]:
        """Return the holds under way that look forgotten."""
        self.total()  # the history is to be known first
        return [hold for hold in list(self.open) if self.history.is_leak(hold, now_s)]

    def longest_open_s(self, now_s: float) -> float:
        """Return for how long the oldest hold under way lasts."""
        return max((now_s - hold.taken_s for hold in list(self.open)), default=0.0)

    def _fold(self) -> None:
        take = self.ended.popleft
        for _ in range(len(self.ended)):
            hold = take()
            self._cost.add(hold.held_s)
            self.waits.add(hold.waited_s)
            self._outside_s += max(0.0, hold.held_s - hold.busy_s)
            self._idle_s += hold.idle_s + hold.now_idle_s
            self.history.add(hold)


@dataclass(frozen=True, slots=True)
class Total:
    """Of holds that ended: their times, what they had waited, how long nothing ran for them."""

    cost: calls.Cost
    waits: calls.Cost
    outside_s: float
    idle_in_transaction_s: float
