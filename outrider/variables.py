"""The environment variables that are settings: which are ours, and which hold or name a secret.

Each secret may also be given by the name of a file that holds it, as container secrets are:
``OUTRIDER_REDIS_URL_FILE=/run/secrets/redis``.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PREFIX = "OUTRIDER_"
SECRETS = (
    "REDIS_URL", "DATABASE__URL", "DATABASE__ADMIN_URL", "DATABASE__REPLICA_URL",
    "DASHBOARD__USER", "DASHBOARD__OIDC__CLIENT_SECRET",
    "NOTIFY__WEBHOOK__URL", "NOTIFY__WEBHOOK__SECRET", "NOTIFY__SLACK__URL",
    "NOTIFY__DISCORD__URL", "NOTIFY__TELEGRAM__TOKEN", "NOTIFY__NTFY__TOPIC",
    "NOTIFY__NTFY__TOKEN", "NOTIFY__EMAIL__PASSWORD", "NOTIFY__HEARTBEAT__URL",
)  # fmt: skip
# Read by parts that must start before, or without, the settings; the rest must be a setting.
_OWN_VARIABLES = frozenset(
    {
        "OUTRIDER_CONFIG", "OUTRIDER_BOT", "OUTRIDER_TELEMETRY", "OUTRIDER_CHANNEL",
        "OUTRIDER_POOL_SIZE", "OUTRIDER_POOL_FLOOR", "OUTRIDER_PRESET", "OUTRIDER_PROCESS",
        "OUTRIDER_CACHE_TIMEOUT_S",
        "OUTRIDER_FLOWER_PASSWORD", "OUTRIDER_DASHBOARD_TOKEN", "OUTRIDER_STARTUP_TRACE",
    }
)  # fmt: skip
_OF_TESTS = "OUTRIDER_TEST_"


def unknown(settings: Iterable[str]) -> Iterator[Problem]:
    """Yield variables that would be ignored in silence, such as mistyped ones."""
    fields = {name.upper() for name in settings}
    from_files = {f"{secret}_FILE" for secret in SECRETS}
    known = sorted(fields | from_files)
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if (
            not variable.startswith(PREFIX)
            or variable.startswith(_OF_TESTS)
            or variable in _OWN_VARIABLES
            or name in from_files
            or name.partition("__")[0].upper() in fields
        ):
            continue
        close = difflib.get_close_matches(name, known, n=1)
        remedy = (
            f"Did you mean {PREFIX}{close[0]}?"
            if close
            else f"Known are, each after {PREFIX}: {', '.join(known)}."
        )
        yield Problem("environment", variable, None, "unknown variable.", remedy)


def with_secrets(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return variables, in lower case, with what ``name_file`` names in the place of ``name``."""
    found = dict(variables)
    for secret in SECRETS:
        name = f"{PREFIX}{secret}".lower()
        if file := found.pop(f"{name}_file", None):
            try:
                found.setdefault(name, Path(file).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                continue  # unreadable() tells
    return found


def unreadable() -> Iterator[Problem]:
    """Yield the files of secrets that can't be read."""
    for secret in SECRETS:
        variable = f"{PREFIX}{secret}_FILE"
        if file := os.environ.get(variable):
            try:
                Path(file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                yield Problem(
                    "environment", variable, file, f"can't be read: {reason}.",
                    "Name a readable file that holds the value.",
                )  # fmt: skip


def setting(loc: tuple[str | int, ...]) -> str | None:
    """Return the environment variable that sets a key, alone or within its JSON."""
    for depth in range(len(loc), 0, -1):
        name = PREFIX + "__".join(str(part) for part in loc[:depth])
        for variable in os.environ:
            if variable.upper() == name.upper():
                return ".".join((variable, *(str(part) for part in loc[depth:])))
    return None


def touches(loc: tuple[str | int, ...]) -> bool:
    """Tell whether an environment variable sets anything inside a key."""
    name = PREFIX + "__".join(str(part) for part in loc) + "__"
    return any(variable.upper().startswith(name.upper()) for variable in os.environ)
