"""`outrider dashboard`: passwords for people, what was written down, and how it is started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from outrider import settings as settings_module
from outrider.cli.main import main
from outrider.store import connection, keys
from outrider.web import serve
from outrider.web.access import passwords

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.conftest import Outrider

WORDS = "four quiet words here"


def test_a_password_becomes_settings_that_let_its_owner_in(folder: Path) -> None:
    asked = CliRunner().invoke(
        main, ["dashboard", "password", "ann", "--role", "operator"], input=f"{WORDS}\n{WORDS}\n"
    )
    assert asked.exit_code == 0, asked.output
    assert WORDS not in asked.output
    printed = asked.stdout[asked.stdout.index("[[dashboard.user]]") :]
    (folder / "outrider.toml").write_text(printed)
    (user,) = settings_module.load().dashboard.user
    assert (user.name, user.role) == ("ann", "operator")
    assert passwords.fits(WORDS, user.password_hash.get_secret_value())
    assert "argon2id" not in str(settings_module.load())


@pytest.mark.parametrize("name", ["", "a b", 'x"', "token"])
def test_a_name_that_can_not_be_written_down_is_refused(outrider: Outrider, name: str) -> None:
    said = outrider("dashboard", "password", name, "--password", WORDS)
    assert said.exit_code == 2
    assert "name = " in said.stderr


def test_what_was_written_down_is_shown(
    outrider: Outrider, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_REDIS_URL", valkey_url)
    entry = {
        "at_s": 1_800_000_000.0, "what": "restart", "who": "ann", "role": "operator",
        "address": "192.0.2.7", "about": "canary on alpha", "why": "stuck",
        "result": "ok: canary \x1b[2Jstarting",
    }  # fmt: skip
    with connection.connect(valkey_url) as client:
        client.lpush(keys.ACCESS, json.dumps(entry))
    said = outrider("dashboard", "access")
    assert "canary on alpha" in said.stdout
    assert "192.0.2.7" in said.stdout
    assert "\x1b[2J" not in said.stdout
    assert json.loads(outrider("dashboard", "access", "--json").stdout) == [entry]
    assert json.loads(outrider("dashboard", "access", "--refused", "--json").stdout) == []


class Served:
    """Catches what would be served."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: dict[str, Any] = {}
        self.patch = monkeypatch
        monkeypatch.setattr(serve, "run", lambda **given: self.given.update(given))
        monkeypatch.setenv("OUTRIDER_REDIS_URL", "redis://127.0.0.1:1/0")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(monkeypatch)


def test_options_count_above_the_settings(outrider: Outrider, folder: Path, served: Served) -> None:
    served.patch.setenv("OUTRIDER_DASHBOARD_TOKEN", "t" * 20)
    (folder / "outrider.toml").write_text('[dashboard]\nroot_path = "/a"\nsession_s = "1h"\n')
    for name in ("cert", "key"):
        (folder / name).write_text("")
    said = outrider("dashboard", "--root-path", "/ops/", "--tls-cert", "cert", "--tls-key", "key")
    assert said.exit_code == 0, said.output
    page = served.given["settings"].dashboard
    assert (page.root_path, page.session_s, page.tls_cert.name) == ("/ops", 3600.0, "cert")
    served.given.clear()
    assert outrider("dashboard").exit_code == 0
    assert served.given["settings"].dashboard.root_path == "/a"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--root-path", "ops"], "write it like /ops"), (["--tls-cert", "cert"], "give both")],
)
def test_options_that_make_no_sense_are_refused(
    outrider: Outrider,
    folder: Path,
    served: Served,
    arguments: list[str],
    words: str,
) -> None:
    served.patch.setenv("OUTRIDER_DASHBOARD_TOKEN", "t" * 20)
    (folder / "cert").write_text("")
    said = outrider("dashboard", *arguments)
    assert (said.exit_code, served.given) == (2, {})
    assert words in said.stderr


def test_with_users_no_token_is_needed(outrider: Outrider, folder: Path, served: Served) -> None:
    known = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"
    (folder / "outrider.toml").write_text(
        f'[[dashboard.user]]\nname = "ann"\npassword_hash = "{known}"\n'
    )
    assert outrider("dashboard").exit_code == 0
    assert served.given["token"] == ""
