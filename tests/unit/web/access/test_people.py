"""By the token, by a password, and what is not told about whom there is."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from outrider.errors import BadArgument
from outrider.store import keys
from outrider.web.access import passwords
from tests.unit.web.access.conftest import PASSWORD, cheap, log_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.web import access
    from tests.unit.web.conftest import Fleet, Visitor


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def test_a_password_is_hashed_with_argon2id_and_salted() -> None:
    first, second = passwords.hashed(PASSWORD), passwords.hashed(PASSWORD)
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.fits(PASSWORD, first)
    assert not passwords.fits(PASSWORD + ".", first)


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_a_password_that_is_too_short_or_too_long_is_no_password(password: str) -> None:
    with pytest.raises(BadArgument, match="10 to 256"):
        passwords.hashed(password)


def test_what_is_no_hash_fits_nothing() -> None:
    for broken in ("", "$argon2id$v=19$m=8,t=1,p=1$x$y", "plain"):
        assert not passwords.fits(PASSWORD, broken)


def test_a_name_that_nobody_has_takes_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import argon2

    looked: list[str] = []
    verify = argon2.PasswordHasher.verify

    def counted(self: argon2.PasswordHasher, known: str, password: str) -> Any:
        looked.append(known)
        return verify(self, known, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    nobodys = cheap("nobody's")
    monkeypatch.setattr(passwords, "_made", [nobodys])
    assert not passwords.fits("nobody's", None)
    assert looked == [nobodys]


def test_logging_in_leads_on_and_tells_the_role(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    form = {"user": "vic", "password": PASSWORD, "next": "/series?host=alpha&s=cpu.used"}
    answer = visitor.post("/login", data=form)
    assert answer.headers["location"] == "/series?host=alpha&s=cpu.used"
    told = visitor.get("/api/me").json()
    assert (told["user"], told["role"]) == ("vic", "viewer")


@pytest.mark.parametrize(
    "onward",
    ["//evil.example", "/\\evil.example", "https://evil.example/", "/\t/evil.example",
     "\n//evil.example", "/\r\nSet-Cookie: a=b"],
)  # fmt: skip
def test_a_login_never_leads_to_another_host(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], onward: str
) -> None:
    form = {"user": "ann", "password": PASSWORD, "next": onward}
    location = opened(users=users).post("/login", data=form).headers["location"]
    assert location.startswith("/")
    assert location[1:2] not in ("/", "\\", "\t")
    assert not set(location) & set("\t\r\n\\")


@pytest.mark.parametrize(
    ("user", "password"),
    [("ann", "wrong words"), ("nobody", PASSWORD), ("", PASSWORD), ("ann", ""), ("ANN", PASSWORD)],
)  # fmt: skip
def test_a_wrong_login_says_so_and_not_what_was_wrong(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], user: str, password: str
) -> None:
    visitor = opened(users=users)
    answer = visitor.post("/login", data={"user": user, "password": password})
    assert answer.status_code == 401
    assert "user or password is not right" in answer.text
    assert visitor.get("/api/me").status_code == 401


def test_ten_wrong_passwords_close_the_form_for_that_address(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor = opened(users=users)
    for _ in range(10):
        assert visitor.post("/login", data={"user": "ann", "password": "x"}).status_code == 401
    right = {"user": "ann", "password": PASSWORD}
    assert visitor.post("/login", data=right).status_code == 429
    fleet.now_s += 61
    assert visitor.post("/login", data=right).status_code == 303


def test_ones_own_logins_buy_no_guesses_at_another_s_password(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor, statuses = opened(users=users), []
    for _ in range(11):
        statuses.append(visitor.post("/login", data={"user": "ann", "password": "x"}).status_code)
        visitor.post("/login", data={"user": "vic", "password": PASSWORD})
    assert statuses == [401] * 10 + [429]


def test_a_session_goes_on_where_its_address_is_blocked(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    log_in(visitor)
    for _ in range(12):
        visitor.post("/login", data={"user": "ann", "password": "x"})
    assert visitor.get("/api/me").status_code == 200


def test_programs_send_a_password_and_it_is_hashed_once(
    opened: Callable[..., Visitor],
    users: tuple[access.User, ...],
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []
    fits = passwords.fits

    def counted(password: str, known: str | None) -> bool:
        looks.append(password)
        return fits(password, known)

    monkeypatch.setattr(passwords, "fits", counted)
    visitor = opened(users=users)
    for _ in range(3):
        assert visitor.get("/metrics", headers=basic("vic", PASSWORD)).status_code == 200
    assert len(looks) == 1
    assert visitor.get("/metrics", headers=basic("ann", "wrong")).status_code == 401
    assert visitor.get("/metrics", headers=basic("ann", PASSWORD)).status_code == 200
    fleet.now_s += 301
    visitor.get("/metrics", headers=basic("vic", PASSWORD))
    assert len(looks) == 4


def test_a_password_in_a_browsers_dialog_changes_nothing_by_itself(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users)
    headers = basic("ann", PASSWORD) | {"Content-Type": "application/json"}
    assert visitor.post("/api/actions/ack", headers=headers, content="{}").status_code == 403
    csrf = visitor.get("/api/me", headers=headers).json()["csrf"]
    carried = headers | {"X-Outrider-CSRF": csrf}
    assert visitor.post("/api/actions/ack", headers=carried, content="{}").status_code == 400


def test_without_a_token_only_people_get_in(
    opened: Callable[..., Visitor], users: tuple[access.User, ...]
) -> None:
    visitor = opened(users=users, key="")
    for empty in ("Bearer ", "Bearer", "Basic Og=="):
        assert visitor.get("/api/me", headers={"Authorization": empty}).status_code == 401
    assert visitor.get("/?token=").status_code == 401
    assert visitor.post("/login", data={"password": ""}).status_code == 401
    log_in(visitor)


def test_where_there_are_no_users_the_form_takes_the_token(stranger: Visitor, token: str) -> None:
    assert stranger.post("/login", data={"password": "wrong"}).status_code == 401
    assert stranger.post("/login", data={"password": token}).status_code == 303
    assert stranger.get("/api/me").json()["user"] == "token"


def test_logins_are_written_down_without_what_was_typed(
    opened: Callable[..., Visitor], users: tuple[access.User, ...], fleet: Fleet
) -> None:
    visitor = opened(users=users)
    visitor.post("/login", data={"user": "ann", "password": "my other password"})
    csrf = log_in(visitor)
    visitor.post("/logout", headers={"X-Outrider-CSRF": csrf})
    log_in(visitor)
    entries = visitor.get("/api/access").json()["entries"]
    assert [(one["what"], one["who"], one["role"]) for one in entries] == [
        ("login", "ann", "operator"),
        ("logout", "ann", "operator"),
        ("login", "ann", "operator"),
    ]
    refused = visitor.get("/api/access?refused=1").json()["entries"]
    assert [(one["what"], one["who"], one["result"]) for one in refused] == [
        ("login", "ann", "401")
    ]
    everything = json.dumps([str(fleet.shelf.held[key]) for key in (keys.ACCESS, keys.REFUSED)])
    assert "my other password" not in everything
    assert PASSWORD not in everything
    assert visitor.get("/api/access?most=0").status_code == 400
