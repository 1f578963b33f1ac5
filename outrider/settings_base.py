"""What the tables of the settings are made of: their manners, and values as people write them."""

from __future__ import annotations

import urllib.parse
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr

from outrider import units

Bytes = Annotated[int, BeforeValidator(units.parse_bytes)]
Seconds = Annotated[float, BeforeValidator(units.parse_duration)]


class Table(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def checked_http(url: SecretStr) -> SecretStr:
    """Return an address that can be asked over HTTP. Raises ValueError without showing it."""
    # urlsplit raises ValueError itself for a bad port or bracket.
    parts = urllib.parse.urlsplit(url.get_secret_value())
    if parts.scheme not in ("http", "https"):
        raise ValueError("the address must begin with http:// or https://.")
    if not parts.hostname or parts.port == 0:
        raise ValueError("the address has no host; write it like https://host/path.")
    return url


HttpAddress = Annotated[SecretStr, AfterValidator(checked_http)]


def one_or_more(given: Any) -> Any:
    """Return a list of tables also where a single one was written, as ``[notify.slack]``."""
    return [given] if isinstance(given, dict) else given


def checked_rate(text: str) -> str:
    """Return a rate such as ``30/60s``. Raises ValueError when it is none."""
    if units.parse_rate(text)[0] < 1:
        raise ValueError(f"{text!r} lets nothing through; write it like 30/60s.")
    return text


Rate = Annotated[str, AfterValidator(checked_rate)]
