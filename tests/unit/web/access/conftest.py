"""The same fleet, behind a door that a test sets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from outrider.web import access
from outrider.web.access import passwords
from outrider.web.app import assemble
from tests.unit.web.conftest import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.web.conftest import Fleet

PASSWORD = "four quiet words here"
Open = Any  # a function from a door's settings to a visitor


def cheap(password: str = PASSWORD) -> str:
    """Return a real argon2id hash with little work in it."""
    import argon2

    return argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


@pytest.fixture
def opened(
    fleet: Fleet, token: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Visitor]]:
    """Open a door of a test's own: ``opened(users=..., token=..., orders=...)``."""
    monkeypatch.setattr(passwords, "_made", [cheap("what nobody knows")])
    with asyncio.Runner() as runner:

        def visitor(*, orders: Any = None, key: str = token, **door: Any) -> Visitor:
            app = assemble(fleet.source(), token=key, door=access.Door(**door), orders=orders)
            return Visitor(app, runner)

        yield visitor


@pytest.fixture
def users() -> tuple[access.User, ...]:
    """One of each role, with the same password."""
    known = cheap()
    return access.User("ann", "operator", known), access.User("vic", "viewer", known)


def log_in(visitor: Visitor, user: str = "ann", password: str = PASSWORD) -> str:
    """Log in by the form, and return what changes must carry."""
    answer = visitor.post("/login", data={"user": user, "password": password, "next": "/"})
    assert answer.status_code == 303, answer.text
    return str(visitor.get("/api/me").json()["csrf"])
