"""What a process knows of a namespace in Redis, and who in it wants to hear of changes."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol, cast

from outrider.cache import keys

if TYPE_CHECKING:
    import redis

    from outrider.cache.slot import Slot

_SCRIPTS = ("attach", "acquire", "store", "release", "renew", "enrol", "invalidate")


class Listener(Protocol):
    """A cache in this process. All of it is called in the link's thread, and must be quick."""

    def told_key(self, key: str) -> None:
        """Forget a key, and what is being loaded of it."""
        ...

    def told_tag(self, tag: str) -> None:
        """Forget all that bears a tag."""
        ...

    def told_all(self) -> None:
        """Forget everything; what comes from now on may be trusted."""
        ...

    def lost(self) -> None:
        """Trust nothing that is kept until :meth:`told_all`; it may serve while Redis is away."""
        ...

    def forked(self) -> None:
        """Begin anew in a child process, where any lock may be held for ever."""
        ...


@dataclass(eq=False)
class Space:
    """One namespace, as loaders of one version see it."""

    name: str
    version: str
    epoch: str = ""
    count: int = -1  # invalidations it has had; -1: not known
    entering: Slot | None = None  # filled once it may be used
    is_entered: bool = False  # its epoch is known
    is_attached: bool = False  # and what was owed to it is sent: callers may come
    missed: bool = True  # whether something may have been invalidated before it was entered
    listeners: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)

    @property
    def generation(self) -> str:
        """What its keys bear beside the namespace."""
        return keys.generation(self.epoch, self.version)

    def value(self, key: str) -> str:
        """Return the Redis key of a value."""
        return keys.value(self.name, key, self.generation)

    def lease(self, key: str) -> str:
        """Return the Redis key of who loads a value."""
        return keys.lease(self.name, key, self.generation)

    def command(self, script: str, key: str) -> tuple[str | int, ...]:
        """Return the beginning of a script's command."""
        return ("EVALSHA", SHA[script], 1, keys.state(self.name), self.name, self.version, key)


def generation(client: redis.Redis, namespace: str, version: str = "") -> str:
    """Return what a namespace's keys bear now; for those who write values from outside."""
    epoch = cast("bytes | None", client.hget(keys.state(namespace), "epoch"))
    return keys.generation(epoch.decode() if epoch else "", version)


def _text(name: str) -> str:
    folder = resources.files("outrider.cache") / "lua"
    return (folder / "common.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")


TEXT = {name: _text(name) for name in _SCRIPTS}
# What names a script to the server; no secret hangs on it.
SHA = {
    name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    for name, text in TEXT.items()
}
