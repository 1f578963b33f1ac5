"""Logging in by a real provider, and what a dishonest one or a thief gets."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from outrider.errors import BadArgument, SettingsError
from outrider.settings_web import OidcSettings
from outrider.web.access import record
from tests.servers import provider as providers
from tests.unit.test_settings_web import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.provider import Provider
    from tests.unit.web.conftest import Fleet, Visitor


@pytest.fixture(scope="module")
def started() -> Iterator[Provider]:
    with providers.serving() as provider:
        yield provider


@pytest.fixture
def provider(started: Provider, fleet: Fleet) -> Provider:
    """An honest one, whose clock is the test's."""
    started.claims = {"email": "ann@example.com", "email_verified": True}
    started.algorithm, started.signs, started.now_s = "RS256", None, fleet.now
    started.asked.clear()
    return started


def settings(provider: Provider, **more: Any) -> OidcSettings:
    given = {
        "issuer": provider.issuer, "client_id": providers.CLIENT,
        "client_secret": providers.SECRET, "address": "http://127.0.0.1",
        "operators": ["ann@example.com"], "viewers": ["*@example.com"],
    }  # fmt: skip
    return OidcSettings.model_validate({**given, **more})


@pytest.fixture
def visitor(opened: Callable[..., Visitor], provider: Provider) -> Visitor:
    return opened(oidc=settings(provider))


def sent_back(visitor: Visitor, onward: str = "/") -> str:
    """Begin a login, let the provider approve it, and return the address it sends one back to."""
    begun = visitor.get(f"/login/oidc?{urllib.parse.urlencode({'next': onward})}")
    assert begun.status_code == 303, begun.text
    back = httpx.get(begun.headers["location"], trust_env=False).headers["location"]
    return back.removeprefix("http://127.0.0.1")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text.partition('role="alert">')[2].partition("<")[0]


def test_a_person_comes_in_by_the_provider_and_goes_on(visitor: Visitor, fleet: Fleet) -> None:
    answer = visitor.get(sent_back(visitor, "/series?host=a"))
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/series?host=a"' in answer.text
    told = visitor.get("/api/me").json()
    assert (told["user"], told["role"]) == ("ann@example.com", "operator")
    client: Any = fleet.shelf
    login = record.read(client)[0]
    assert (login["who"], login["about"]) == ("ann@example.com", "by oidc:operator")


def test_the_form_offers_it(visitor: Visitor) -> None:
    page = visitor.get("/series?host=a", headers={"Accept": "text/html"}).text
    assert 'href="/login/oidc?next=%2Fseries%3Fhost%3Da"' in page


@pytest.mark.parametrize(
    ("claims", "more", "role"),
    [
        ({"email": "vic@example.com"}, {}, "viewer"),
        ({"groups": ["x", "ops"]}, {"claim": "groups", "operators": ["ops"]}, "operator"),
        ({"groups": ["x"]}, {"claim": "groups", "operators": ["ops"]}, None),
        ({"groups": {"ops": 1}}, {"claim": "groups", "operators": ["ops"]}, None),
        ({"email": "eve@evil.example"}, {}, None),
        ({"email": "ANN@EXAMPLE.COM"}, {}, None),
        ({"email": "ann@example.com", "email_verified": False}, {}, None),
        ({"email": None}, {}, None),
    ],
)
def test_a_claim_decides_the_role(
    opened: Callable[..., Visitor],
    provider: Provider,
    claims: dict[str, Any],
    more: dict[str, Any],
    role: str | None,
) -> None:
    provider.claims |= claims
    visitor = opened(oidc=settings(provider, **more))
    assert visitor.get(sent_back(visitor)).status_code == (200 if role else 401)
    assert visitor.get("/api/me").json().get("role") == role


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"}, {"aud": "another"}, {"iss": "https://evil.example"}, {"exp": 1},
        {"aud": [providers.CLIENT, "another"], "azp": "another"}, {"nonce": None},
        {"iat": 4_000_000_000}, {"exp": "soon"},
    ],
    ids=str,
)  # fmt: skip
def test_a_token_that_is_not_for_us_and_now_opens_nothing(
    visitor: Visitor, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims |= claims
    status, words = refusal(visitor.get(sent_back(visitor)))
    assert (status, words.startswith("The ID token does not hold")) == (401, True), words
    assert visitor.get("/api/me").status_code == 401


def test_a_token_that_somebody_else_signed_opens_nothing(
    visitor: Visitor, provider: Provider
) -> None:
    provider.signs = RSAKey.generate_key(2048, {"kid": "one"})
    assert "not signed by the provider" in refusal(visitor.get(sent_back(visitor)))[1]
    for provider.algorithm in ("HS256", "none"):
        assert "not signed by the provider" in refusal(visitor.get(sent_back(visitor)))[1]


def test_keys_that_the_provider_changed_are_asked_for_again(
    visitor: Visitor, provider: Provider, fleet: Fleet
) -> None:
    assert visitor.get(sent_back(visitor)).status_code == 200
    before = provider.key
    try:
        provider.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        fleet.now_s += 61
        assert visitor.get(sent_back(visitor)).status_code == 200
    finally:
        provider.key = before
    assert provider.asked.count("/keys") == 2
    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_a_login_is_bound_to_its_browser_and_is_good_once(
    visitor: Visitor, opened: Callable[..., Visitor], provider: Provider, fleet: Fleet
) -> None:
    begun_elsewhere = sent_back(visitor)
    cookies = visitor._client.cookies
    kept = dict(cookies)
    cookies.clear()  # a victim's browser, sent to an attacker's login
    assert refusal(visitor.get(begun_elsewhere))[0] == 401

    back = sent_back(visitor)
    assert visitor.get(back).status_code == 200
    cookies.clear()
    cookies.update(kept)
    assert refusal(visitor.get(back))[0] == 401

    late = sent_back(visitor)
    fleet.now_s += 601
    assert "too long ago" in refusal(visitor.get(late))[1]
    for path in ("?state=x&code=y", "", "?error=access_denied&state="):
        assert visitor.get(f"/login/oidc/callback{path}").status_code in (401, 429)


def test_what_the_provider_refuses_is_said(visitor: Visitor) -> None:
    back = sent_back(visitor)
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(back).query)["state"][0]
    answer = visitor.get(f"/login/oidc/callback?error=access_denied&state={state}")
    assert refusal(answer) == (401, "The provider refuses the login: access_denied.")
    other = sent_back(visitor)
    assert refusal(visitor.get(f"{other}x"))[0] == 401  # a code or a state that is no other's


def test_a_change_of_the_settings_ends_sessions(
    visitor: Visitor, opened: Callable[..., Visitor], provider: Provider
) -> None:
    visitor.get(sent_back(visitor))
    ((name, value),) = [
        pair for pair in visitor._client.cookies.items() if not pair[0].endswith("_oidc")
    ]
    headers = {"Cookie": f"{name}={value}"}
    same = opened(oidc=settings(provider))
    assert same.get("/api/me", headers=headers).status_code == 200
    for other in (opened(oidc=settings(provider, operators=["bob@example.com"])), opened()):
        assert other.get("/api/me", headers=headers).status_code == 401


def test_a_provider_that_is_away_or_another_is_said(
    opened: Callable[..., Visitor], provider: Provider
) -> None:
    away = opened(oidc=settings(provider, issuer="http://127.0.0.1:1"))
    status, words = refusal(away.get("/login/oidc"))
    assert (status, "can&#x27;t be asked" in words) == (502, True)
    other = opened(oidc=settings(provider, issuer=provider.issuer + "/"))
    assert "calls itself" in refusal(other.get("/login/oidc"))[1]


def test_where_no_provider_is_named_there_is_none(stranger: Visitor) -> None:
    for path in ("/login/oidc", "/login/oidc/callback?state=a&code=b"):
        assert stranger.get(path).status_code == 404


def test_without_its_libraries_the_start_says_what_to_install(
    opened: Callable[..., Visitor], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BadArgument, match=r"pip install 'outrider\[oidc\]'"):
        opened(oidc=settings(provider))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ('issuer = "http://id.example.com"', "not to be trusted"),
        ('address = "ops.example.com"', "not to be trusted"),
        ("operators = []", "nobody could log in"),
        ('scopes = ["email"]', "must hold openid"),
    ],
)
def test_mistakes_in_its_settings_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = {
        "issuer": 'issuer = "https://id.example.com"', "client_id": 'client_id = "outrider"',
        "address": 'address = "https://ops.example.com"', "operators": 'operators = ["ann"]',
    }  # fmt: skip
    lines[changed.partition(" ")[0]] = changed
    with pytest.raises(SettingsError, match=words):
        load("[dashboard.oidc]\n" + "\n".join(lines.values()))
