from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outrider.errors import RedisUnavailable
from outrider.settings import Settings
from outrider.store import address

if TYPE_CHECKING:
    from pathlib import Path


def stack(folder: Path, text: str) -> Settings:
    settings = Settings(data_dir=folder)
    settings.run_dir().mkdir(parents=True)
    address.stack_file(settings).write_text(text)
    return settings


def test_the_settings_name_the_redis(tmp_path: Path) -> None:
    settings = stack(tmp_path, '{"redis_url": "redis://stack"}')
    given = Settings.model_validate({"data_dir": tmp_path, "redis_url": "redis://given"})

    assert address.redis_url(settings) == "redis://stack"
    assert address.redis_url(given) == "redis://given"


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '"text"', '{"redis_url": ""}'])
def test_a_stack_file_without_an_address_is_no_stack(text: str, tmp_path: Path) -> None:
    with pytest.raises(RedisUnavailable, match="outrider up"):
        address.redis_url(stack(tmp_path, text))


def test_a_folder_where_nothing_ran_has_no_redis(tmp_path: Path) -> None:
    with pytest.raises(RedisUnavailable, match=str(tmp_path)):
        address.redis_url(Settings(data_dir=tmp_path))
