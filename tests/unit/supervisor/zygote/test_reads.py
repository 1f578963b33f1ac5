from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outrider.supervisor.zygote import reads

if TYPE_CHECKING:
    import pytest


def test_what_is_read_is_noted_and_what_is_written_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READ", "1")
    monkeypatch.delenv("WRITTEN", raising=False)
    with reads.recorded() as names:
        assert os.environ["READ"] == "1"
        assert os.environ.get("ABSENT") is None
        assert "ASKED" not in os.environ
        os.environ["WRITTEN"] = "2"
    assert names == {"READ", "ABSENT", "ASKED"}
    assert os.environ["WRITTEN"] == "2"

    os.environ["READ"]
    assert type(os.environ._data) is dict  # type: ignore[attr-defined]
    assert len(names) == 3
    monkeypatch.delenv("WRITTEN")


def test_whoever_walks_through_all_has_read_all() -> None:
    with reads.recorded() as names:
        assert dict(os.environ) == {**os.environ}
    assert reads.ALL in names
