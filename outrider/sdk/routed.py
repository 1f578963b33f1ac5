"""``outrider.create_routed``: writes to the primary, reads to its replica while it is near."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

    from outrider.database.replica import Routed


def create_routed(
    url: sa.URL | str,
    *,
    replica: sa.URL | str | None = None,
    lag_s: float | None = None,
    preset: str | None = None,
    **sqlalchemy_options: Any,
) -> Routed:
    """Return a pair of engines: ``with made.begin()`` writes, ``with made.read()`` reads.

    The replica is ``replica``, or ``OUTRIDER_DATABASE__REPLICA_URL`` (``[database] replica_url`` of
    a supervised bot); without one, the primary answers all. A replica further behind than ``lag_s``
    (5 s, or the settings') or that lies answers nothing. What this process commits, it reads.
    The primary's engine is ``outrider.create_engine``'s, which takes the other options; the
    replica's has the preset's pool, since its server is not the one that the fleet's plan is for.

    Raises:
        BadArgument: a URL, its driver, the preset, the limit or an option can't be used.
    """
    from outrider.database import engine as engines
    from outrider.database import presets
    from outrider.database.replica import LAG_S, Routed
    from outrider.errors import BadArgument
    from outrider.sdk import database

    chosen = presets.by_name(preset or os.environ.get("OUTRIDER_PRESET") or presets.DEFAULT)
    said = os.environ.get("OUTRIDER_DATABASE__REPLICA_LAG_S")
    try:
        limit_s = lag_s if lag_s is not None else float(said or LAG_S)
    except ValueError:
        raise BadArgument(
            f"OUTRIDER_DATABASE__REPLICA_LAG_S = {said!r} is not a number of seconds."
        ) from None
    primary = database.create_engine(url, preset=preset, **sqlalchemy_options)
    address = replica or os.environ.get("OUTRIDER_DATABASE__REPLICA_URL")
    follower = None
    if address:
        name = database._bot_name()  # noqa: SLF001 - of this package
        follower = engines.create_engine(address, chosen, application_name=name)
    return Routed(primary, follower, limit_s=limit_s)
