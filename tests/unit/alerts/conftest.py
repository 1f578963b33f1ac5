"""What tests of telling people share: a fake clock, channels that note, changes to tell of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from outrider.alerts import dispatch, journal
from outrider.alerts.state import Alert, Transition
from outrider.settings import Settings
from outrider.store import connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from outrider.alerts.delivery import Outcome
    from outrider.alerts.message import Message

START_S = 1_795_454_660.0


class Clock:
    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s


@dataclass
class Notebook:
    """A channel that notes what it is told, or fails as it is bidden."""

    name: str = "log"
    rate: str = "1000/60s"
    most_alerts: int = 20
    is_sink: bool = False
    told: list[Message] = field(default_factory=list)
    error: Exception | None = None

    def deliver(self, message: Message) -> str:
        if self.error is not None:
            raise self.error
        self.told.append(message)
        return "noted"


def change(
    bot: str = "canary",
    to: Any = "firing",
    *,
    at_s: float = START_S,
    rule: str = "bot is down",
    host: str = "alpha",
    before: Any = None,
    severity: Any = "critical",
    instance: str | None = None,
) -> Transition:
    instance = instance or f"bot.{bot}.up"
    before = before or ("pending" if to == "firing" else "firing")
    return Transition(
        f"{host}|{rule}|{instance}|{at_s}|{to}", rule, instance, host, severity, before, to, at_s,
        int(at_s), 1.0, f"{rule}: {bot}",
    )  # fmt: skip


class Fleet:
    """Alerts that fire and end, and people who are told of them."""

    def __init__(self, client: redis.Redis, **settings: Any) -> None:
        self.client = client
        self.clock = Clock()
        self.channels = [Notebook()]
        self.settings = Settings.model_validate(settings)
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._tick = 0

    @property
    def told(self) -> list[Message]:
        return self.channels[0].told

    def set(self, **settings: Any) -> None:
        self.settings = Settings.model_validate(settings)

    def happens(self, *changes: Transition) -> None:
        """Store changes and the states that they lead to, each host's in one transaction."""
        self._tick += 1
        for one in changes:
            key = (one.host, f"{one.rule}|{one.instance}")
            if one.to == "firing":
                self._alerts[key] = Alert(
                    one.rule, one.instance, one.host, one.severity, "firing", one.at_s, 1.0,
                    one.at_s, summary=one.summary,
                )  # fmt: skip
            else:
                self._alerts.pop(key, None)
        for host in {one.host for one in changes}:
            kept = [alert for (of, _), alert in self._alerts.items() if of == host]
            mine = [one for one in changes if one.host == host]
            assert journal.commit(self.client, host, self._tick, kept, mine)

    def hosts(self) -> list[str]:
        return sorted({host for host, _ in self._alerts} | {"alpha", "fleet"})

    def fires(self, *bots: str, **how: Any) -> None:
        self.happens(*(change(bot, at_s=self.clock.now_s, **how) for bot in bots))

    def ends(self, *bots: str, **how: Any) -> None:
        self.happens(*(change(bot, "inactive", at_s=self.clock.now_s, **how) for bot in bots))

    def run(self, after_s: float = 0.0) -> Outcome:
        self.clock.now_s += after_s
        return dispatch.run(self.client, self.settings, self.clock, self.channels, self.hosts())

    def reconcile(self) -> int:
        return dispatch.reconcile(self.client, self.settings, self.hosts(), self.clock.now_s)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with connection.connect(valkey_url) as client:
        yield client


@pytest.fixture
def fleet(client: redis.Redis) -> Fleet:
    return Fleet(client)
