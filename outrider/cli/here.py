"""What commands need of this folder: its settings, its Redis, its supervisor."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from outrider import settings as settings_module
from outrider.store import address, connection

if TYPE_CHECKING:
    import redis

    from outrider.settings import Settings
    from outrider.store.redis import RedisStore


def settings() -> Settings:
    """Return the settings of this folder. Raises SettingsError with every mistake."""
    return settings_module.load()


def opened() -> tuple[Settings, redis.Redis, RedisStore]:
    """Return settings, a Redis client that answers, and the store.

    Raises:
        RedisUnavailable: nothing runs here, or it does not answer.
    """
    from outrider.store.redis import RedisStore

    found = settings()
    url = address.redis_url(found)
    connection.check(url)
    client = connection.connect(url)
    return found, client, RedisStore(url, interval_s=found.interval_s, client=client)


def person() -> str:
    """Return who is at the keyboard, for the record of actions."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def supervisor(do: str, **fields: Any) -> Any:
    """Give an order to this folder's supervisor, and return its result."""
    from outrider.supervisor import control

    return control.ask(settings().run_dir(), do, timeout_s=120, **fields)
