"""How a process hears what others change, and what it forgets then.

It tracks the keys of its namespaces (``CLIENT TRACKING ON BCAST NOLOOP``): whoever changes a value,
by whatever command, the server tells of it; that a key expired, too. It listens on a channel as
well, because a key without a value has nothing to track while its load is under way. Where tracking
is refused, a second channel tells of what other processes write. Where channels are refused as well
the process is *deaf*, and memory keeps a value for ``DEAF_S`` only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import hiredis

from outrider.cache import keys
from outrider.cache.link import pack
from outrider.cache.slot import AWAY, Mark, Slot, Then
from outrider.cache.space import Listener, Space

if TYPE_CHECKING:
    from outrider.cache.redis import RedisTier

DEAF_S = 1.0
_UNICODE = "surrogatepass"

logger = logging.getLogger(__name__)


class Hearing:
    """The namespaces of a tier. What changes them holds the lock of the tier's outbox."""

    def __init__(self, tier: RedisTier) -> None:
        self.by = "tracking"  # tracking | channels | nothing
        self._tier = tier
        self._spaces: dict[tuple[str, str], Space] = {}
        self._heard: set[str] = set()  # namespaces that this connection follows
        self._watchers: dict[tuple[str, str], set[Slot]] = {}

    def enter(self, namespace: str, version: str, listener: Listener) -> Space:
        """Return the space of a namespace, entered now or with the connection."""
        space = self._spaces.get((namespace, version))
        if space is None:
            space = self._spaces[namespace, version] = Space(namespace, version)
        space.listeners.add(listener)
        self.enter_new()
        return space

    def find(self, namespace: str, version: str) -> Space:
        """Return a space that was entered before."""
        return self._spaces[namespace, version]

    def enter_new(self) -> None:
        """Enter the spaces that came while the connection was being made."""
        if not self._tier.link.is_up:
            return
        for space in list(self._spaces.values()):
            if space.entering is None:
                self._enter(space)

    def enter_all(self) -> None:
        """Enter every space on a new connection, and let callers in when the last is entered."""
        self.by = "tracking"
        self._heard.clear()
        with self._tier.outbox.lock:
            for space in list(self._spaces.values()):
                self._enter(space)
            self._tier.link.submit(pack("PING"), [Then(self._entered_all)])

    def learn(self, space: Space, epoch: str, count: int) -> None:
        """Take what a script says of a space; a new epoch means that it was flushed."""
        if epoch != space.epoch:
            space.epoch = epoch
            self._forget_all(space)
        space.count = max(space.count, count)

    def pushed(self, push: list[Any]) -> None:
        """Take an invalidation, in the order in which it happened among the answers."""
        kind = push[0]
        if kind == b"invalidate":
            if push[1] is None:  # FLUSHALL
                self._emptied()
            for name in push[1] or ():
                self._changed(name.decode("utf-8", _UNICODE))
        elif kind == b"message":
            channel, text = push[1].decode(), push[2].decode("utf-8", _UNICODE)
            if channel.startswith(keys.INVALIDATED):
                self._told(channel.removeprefix(keys.INVALIDATED), text)
            else:
                writer, _, key = text.partition(":")
                if writer != self._tier.writer:
                    self._told_key(channel.removeprefix(keys.WRITTEN), key)

    def lost(self) -> None:
        """Trust nothing until the next connection; nobody waits for word of others."""
        for space in list(self._spaces.values()):
            space.is_attached = space.is_entered = False
            space.entering = None
            for listener in list(space.listeners):
                listener.lost()
        for place in list(self._watchers):
            self._wake(*place)

    def forked(self) -> None:
        """Begin anew in a child."""
        self._watchers = {}
        for space in self._spaces.values():
            space.is_attached = space.is_entered = False
            space.entering, space.count = None, -1
            for listener in list(space.listeners):
                listener.forked()

    def tell_others(self, space: Space, key: str, but: Listener) -> None:
        """Tell the other caches of this process, which the server takes for one, of a write."""
        for other in self._of(space.name):
            for listener in list(other.listeners):
                if listener is not but:
                    listener.told_key(key)

    def watch(self, space: Space, key: str, slot: Slot) -> None:
        """Fill a slot when somebody's load of a key ends, or nobody can tell any more."""
        self._watchers.setdefault((space.name, key), set()).add(slot)

    def unwatch(self, space: Space, key: str, slot: Slot) -> None:
        """Undo :meth:`watch`."""
        watchers = self._watchers.get((space.name, key))
        if watchers is not None:
            watchers.discard(slot)
            if not watchers:
                self._watchers.pop((space.name, key), None)

    def warn(self, message: str, *details: object) -> None:
        """Log about the server."""
        logger.warning(message, self._tier.link.shown, *details)

    def enter_again(self, namespace: str) -> None:
        """Keep callers out of a namespace until its epoch is known: it is about to change."""
        for space in self._of(namespace):
            space.is_attached = space.is_entered = False
            space.entering = self._tier.slot()
            self._attach(space, again=True)

    def _enter(self, space: Space) -> None:
        space.entering = self._tier.slot()
        if space.name not in self._heard:
            self._heard.add(space.name)
            self._follow(space.name)
        self._attach(space, again=False)

    def _attach(self, space: Space, *, again: bool) -> None:
        then = Then(lambda answer: self._entered(space, answer, again=again))
        self._tier.link.submit(pack(*space.command("attach", "")), [then])

    def _follow(self, namespace: str) -> None:
        values = keys.VALUES + namespace
        track = pack(
            *("CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP"),
            *("PREFIX", f"{values}:", "PREFIX", f"{values}@"),
        )
        self._tier.link.submit(track, [Then(lambda answer: self._tracked(namespace, answer))])
        self._subscribe(keys.INVALIDATED + namespace)

    def _subscribe(self, channel: str) -> None:
        self._tier.link.submit(
            pack("SUBSCRIBE", channel) + pack("PING"), [Mark(lambda _: None, self._deafened)]
        )

    def _tracked(self, namespace: str, answer: Any) -> None:
        if isinstance(answer, hiredis.ReplyError):
            if self.by == "tracking":
                self.by = "channels"
                logger.info("cache: Redis may not be asked to track keys (%s)", answer)
            self._subscribe(keys.WRITTEN + namespace)

    def _deafened(self, error: Any) -> None:
        if self.by != "nothing":
            self.by = "nothing"
            self.warn(
                "cache: Redis at %s refuses a channel (%s); memory keeps values for one second only"
                " (grant the user &or:cache:* and +subscribe)",
                error,
            )

    def _entered(self, space: Space, answer: Any, *, again: bool) -> None:
        if answer is AWAY:
            return
        known, space.count = space.count, -1
        self._tier.answer(space, answer)
        # What was invalidated while nobody listened makes what was loaded meanwhile suspect.
        space.missed = space.missed if again else space.count != known
        self._forget_all(space)
        space.is_entered = True
        self._tier.resend(space)
        if space.entering is not None:
            space.entering.fill(True)

    def _entered_all(self, answer: Any) -> None:
        if answer is not AWAY:
            self._tier.link.ready()

    def _emptied(self) -> None:
        with self._tier.outbox.lock:
            for space in list(self._spaces.values()):
                self._forget_all(space)
            for namespace in {space.name for space in self._spaces.values()}:
                self.enter_again(namespace)

    def _changed(self, name: str) -> None:
        place, _, key = name.removeprefix(keys.VALUES).partition(":")
        self._told_key(place.partition("@")[0], key)

    def _told(self, namespace: str, text: str) -> None:
        head, _, name = text.partition(":")
        kind, count = head[:1], int(head[1:] or -1)
        if kind == "r":
            self._wake(namespace, name)
            return
        for space in self._of(namespace):
            space.count = max(space.count, count)
            if kind == "t":
                for listener in list(space.listeners):
                    listener.told_tag(name)
            elif kind == "n":
                self.learn(space, name, count)
        if kind == "k":
            self._told_key(namespace, name)

    def _told_key(self, namespace: str, key: str) -> None:
        for space in self._of(namespace):
            for listener in list(space.listeners):
                listener.told_key(key)
        self._wake(namespace, key)

    def _forget_all(self, space: Space) -> None:
        for listener in list(space.listeners):
            listener.told_all()

    def _wake(self, namespace: str, key: str) -> None:
        for slot in list(self._watchers.get((namespace, key), ())):
            slot.fill(True)

    def _of(self, namespace: str) -> list[Space]:
        return [space for space in list(self._spaces.values()) if space.name == namespace]
