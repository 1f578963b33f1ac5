"""Every error that Outrider raises on purpose.

::

    OutriderError
    ├── SettingsError        outrider.toml or the environment is wrong; holds every mistake
    ├── BadArgument          a task, command or call was given a value it can't take
    │   └── Mistakes           so many of them, or one shown beneath its text: several lines
    ├── RedisUnavailable     the server does not answer (worth another try)
    │   └── RedisRefused     it answers, and says no (password, version): trying again is no use
    ├── SupervisorUnavailable  nothing listens on the control socket
    ├── UnknownBot           no bot of that name in this fleet
    ├── DeliveryError        a notification did not arrive
    ├── ChannelError         a request over the channel got no answer
    │   ├── ChannelBusy        no room to queue it; nothing was sent (worth another try)
    │   ├── ChannelTimeout     no answer in time; it may have been carried out
    │   ├── ChannelLost        whoever had it is gone; it may have been carried out
    │   ├── ChannelRefused     nobody serves it, or not to this caller
    │   └── RequestFailed      the function that was asked raised; the text is its error's
    └── StoreError           stored bytes can't be read
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class OutriderError(Exception):
    """Base of all: ``permanent`` tells a caller whether another try can help.

    The text says what is wrong, what was expected and what to do next.
    """

    permanent: bool = True
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the settings, with everything its owner needs to mend it."""

    source: str
    key: str
    value: object
    message: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        shown = "" if self.value is None else f" = {self.value!r}"
        return f"{where}: {self.key}{shown}: {self.message} {self.remedy}".rstrip()


class SettingsError(OutriderError):
    """The settings have mistakes; nothing was started. ``problems`` lists them all."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class BadArgument(OutriderError):  # noqa: N818 - reads as the message it is
    """A value can't be taken; the text names it, what was expected and an example."""


class Mistakes(BadArgument):
    """Mistakes of what its owner wrote, such as rules: their lines are printed as lines.

    The text of any other error is one line, whatever a name that it repeats contains.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__("\n".join(lines))


class RedisUnavailable(OutriderError):  # noqa: N818
    """Redis does not answer at its address; start it, or unset OUTRIDER_REDIS_URL."""

    permanent = False
    retry_after_s: float | None = 1.0


class RedisRefused(RedisUnavailable):
    """Redis answers and refuses: wrong password, wrong version, or no permission."""

    permanent = True
    retry_after_s = None


class SupervisorUnavailable(OutriderError):  # noqa: N818
    """No supervisor listens here; start one with `outrider up` or `outrider supervise`."""

    permanent = False
    retry_after_s = 1.0


class UnknownBot(OutriderError):  # noqa: N818
    """No bot of that name is declared; `outrider bots list` shows those that are."""


class DeliveryError(OutriderError):
    """A channel could not deliver. ``permanent`` decides between retry and giving up.

    ``retry_after_s`` is what the other side asked for, if it did.
    """

    def __init__(self, text: str, *, permanent: bool, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.permanent = permanent
        self.retry_after_s = None if permanent else retry_after_s


class ChannelError(OutriderError):
    """A request over the channel got no answer."""

    permanent = False


class ChannelBusy(ChannelError):  # noqa: N818
    """There is no room to queue it; nothing was sent. Send less, or raise the bot's instances."""

    retry_after_s = 0.1


class ChannelTimeout(ChannelError):  # noqa: N818
    """No answer came in time; the request may have been carried out all the same."""


class ChannelLost(ChannelError):  # noqa: N818
    """Whoever had the request is gone; it may have been carried out, and is not sent again."""


class ChannelRefused(ChannelError):  # noqa: N818
    """Nobody serves this, or not to this caller."""

    permanent = True


class RequestFailed(ChannelError):  # noqa: N818
    """The function that was asked raised; the text is its error's."""

    permanent = True


class StoreError(OutriderError):
    """Stored bytes are damaged or of an unknown format; the row is skipped and counted."""
