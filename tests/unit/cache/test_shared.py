from __future__ import annotations

import pytest

from outrider.cache import link, shared
from outrider.errors import BadArgument

URL = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(("text", "seconds"), [("", link.TIMEOUT_S), ("0.25", 0.25)])
def test_the_patience_with_redis_can_be_set(
    text: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(shared.PATIENCE, text)
    assert shared._patience_s() == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-1", "1e9", "nan"])
def test_a_patience_that_is_no_time_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shared.PATIENCE, text)
    with pytest.raises(BadArgument, match="OUTRIDER_CACHE_TIMEOUT_S"):
        shared.of(URL)
