from __future__ import annotations

import pytest

from outrider.errors import SettingsError
from outrider.schedules import beat
from outrider.schedules.profiles import PROFILES
from outrider.settings import EntrySettings, Settings


def test_every_entry_names_a_task_that_exists() -> None:
    from celery import Celery

    import outrider.tasks  # noqa: F401 - registers them

    app = Celery("names", set_as_current=False)
    app.finalize()
    assert {entry.task for entry in beat.table(Settings())} <= set(app.tasks)


def test_collection_follows_the_interval_and_is_numbered() -> None:
    collect = next(e for e in beat.table(Settings(interval_s=5)) if e.name == "collect")

    assert (collect.every_s, collect.numbered) == (5.0, True)


@pytest.mark.parametrize("profile", ["calm", "standard", "live"])
def test_a_profile_sets_every_interval(profile: str) -> None:
    settings = Settings.model_validate({"profile": profile})

    named = {e.name: e.every_s for e in beat.table(settings) if e.name != "collect"}

    assert PROFILES[profile] == named


def test_a_user_changes_an_interval_and_takes_an_entry_out() -> None:
    changed = Settings(
        schedule={"tune": EntrySettings(every_s=60), "validate": EntrySettings(enabled=False)}
    )

    entries = {entry.name: entry for entry in beat.table(changed)}

    assert entries["tune"].every_s == 60
    assert "validate" not in entries


def test_an_unknown_entry_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"schedule\.colect: no such entry\. Known: .*collect"):
        beat.table(Settings(schedule={"colect": EntrySettings(every_s=5)}))
