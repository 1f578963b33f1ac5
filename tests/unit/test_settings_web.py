"""The settings of who may open the dashboard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outrider import settings as settings_module
from outrider.errors import SettingsError

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str) -> settings_module.Settings:
    Path("outrider.toml").write_text(text)
    return settings_module.load()


def test_files_count_from_the_settings_folder(folder: Path) -> None:
    page = load('[dashboard]\ntls_cert = "a.pem"\ntls_key = "/etc/b.pem"\n').dashboard
    assert (page.tls_cert, page.tls_key) == (folder / "a.pem", Path("/etc/b.pem"))


def test_users_may_stand_in_a_secrets_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [{"name": "ann", "role": "operator", "password_hash": HASH}]
    (folder / "users").write_text(json.dumps(users))
    monkeypatch.setenv("OUTRIDER_DASHBOARD__USER_FILE", str(folder / "users"))
    (user,) = load("").dashboard.user
    assert (user.name, user.role, user.password_hash.get_secret_value()) == (
        "ann", "operator", HASH,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('tls_cert = "a.pem"', "give both"),
        ('root_path = "ops"', "write it like /ops"),
        ('root_path = "/a//b"', "write it like /ops"),
        ('root_path = "/a\\"b"', "write it like /ops"),
        ('origins = ["ops.example.com"]', "https://ops.example.com"),
        ('origins = ["https://ops.example.com/x"]', "https://ops.example.com"),
        ("session_s = 5", "greater than or equal to 60"),
        ('user = [{ name = "ann", password_hash = "SECRETWORD" }]', "outrider dashboard password"),
        (f'user = [{{ name = "token", password_hash = "{HASH}" }}]', "can't be called token"),
        (f'user = [{{ name = "<b>", password_hash = "{HASH}" }}]', "match"),
        (f'user = [{{ name = "a", role = "root", password_hash = "{HASH}" }}]', "viewer"),
        (
            (
                f'user = [{{ name = "a", password_hash = "{HASH}" }},'
                f' {{ name = "a", password_hash = "{HASH}" }}]'
            ),
            "two users are called a",
        ),
    ],
)
def test_a_mistake_is_named_and_no_hash_is_shown(text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(f"[dashboard]\n{text}\n")
    assert words in str(caught.value)
    assert "SECRETWORD" not in str(caught.value)
    assert HASH not in str(caught.value)
