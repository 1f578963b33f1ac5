"""Where this host's Redis is: the settings say so, or the stack that runs here wrote it down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from outrider.errors import RedisUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from outrider.settings import Settings


def stack_file(settings: Settings) -> Path:
    """Return where a running stack writes its addresses and credentials."""
    return settings.run_dir() / "stack.json"


def read_stack(settings: Settings) -> dict[str, Any]:
    """Return what the running stack wrote, or an empty dict when none ever ran here."""
    try:
        found = json.loads(stack_file(settings).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def redis_url(settings: Settings) -> str:
    """Return the address of the Redis to use.

    Raises:
        RedisUnavailable: none is set, and no stack runs in this folder.
    """
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    url = read_stack(settings).get("redis_url")
    if not url:
        raise RedisUnavailable(
            f"no stack runs for {settings.data_dir}; start one with `outrider up`, "
            "or set OUTRIDER_REDIS_URL."
        )
    return str(url)
