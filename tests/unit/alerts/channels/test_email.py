from __future__ import annotations

import email
import email.policy
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from outrider.alerts.channels.email import EmailChannel
from outrider.errors import DeliveryError
from outrider.settings_notify import EmailSettings
from tests.unit.alerts.channels.conftest import alert, message, nasty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Inbox:
    """Takes mail, or answers as it is bidden."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.recipients: list[str] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.recipients += envelope.rcpt_tos
            self.mails.append(
                email.message_from_bytes(envelope.content, policy=email.policy.default)
            )
        return self.answer


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path


@pytest.fixture
def server(inbox: Inbox, certificate: Path) -> Iterator[Controller]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "server.pem")

    def authenticate(_: Any, __: Any, ___: Any, ____: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"me", b"pass"), handled=False)

    controller = Controller(
        inbox, hostname="localhost", port=_free_port(), tls_context=context,
        require_starttls=True, authenticator=authenticate, auth_required=True,
    )  # fmt: skip
    controller.start()
    yield controller
    controller.stop()


def _free_port() -> int:
    from outrider.workers import valkey

    return valkey.free_port()


def channel(server: Controller, certificate: Path | None, **given: Any) -> EmailChannel:
    fields: dict[str, Any] = {
        "host": "localhost", "port": server.port, "sender": "outrider@example.com",
        "to": ["ann@example.com", "bob@example.com"], "user": "me", "password": "pass",
        "ca_file": str(certificate / "ca.pem") if certificate else None,
    }  # fmt: skip
    return EmailChannel(EmailSettings(**fields | given))


def test_a_mail_goes_out_over_tls_to_everybody(
    server: Controller, inbox: Inbox, certificate: Path
) -> None:
    sent = channel(server, certificate).deliver(message(alert(), alert(to="inactive")))
    (mail,) = inbox.mails

    assert sent == "sent"
    assert inbox.recipients == ["ann@example.com", "bob@example.com"]
    assert mail["Subject"] == "[critical] firing on alpha: bot is down: 1 firing, 1 resolved"
    assert (mail["Message-ID"], mail["References"]) == ("<m1@example.com>", "<g1@example.com>")
    assert "resolved on alpha since 2026-11-23 17:24:20 UTC: it burns" in mail.get_content()


def test_names_of_an_enemy_become_neither_headers_nor_pages_of_text(
    server: Controller, inbox: Inbox, certificate: Path
) -> None:
    channel(server, certificate).deliver(nasty())
    (mail,) = inbox.mails

    assert mail["Bcc"] is None
    assert inbox.recipients == ["ann@example.com", "bob@example.com"]
    assert mail.get_content_type() == "text/plain"
    assert "\x1b" not in mail.get_content()
    assert len(mail.get_content()) < 21_000


@pytest.mark.parametrize(
    ("given", "words", "permanent"),
    [
        ({"password": "wrong"}, "535", True),
        ({"ca_file": None}, "is not trusted", False),
        ({"port": 1}, "localhost", False),
        ({"security": "none", "user": None}, "530", True),
    ],
)
def test_what_the_server_refuses_is_said(
    given: dict[str, Any], words: str, server: Controller, certificate: Path, *, permanent: bool
) -> None:
    with pytest.raises(DeliveryError, match=words) as caught:
        channel(server, certificate, **given).deliver(message())

    assert permanent == caught.value.permanent
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(("answer", "permanent"), [("451 later", False), ("554 never", True)])
def test_an_answer_of_the_server_decides_over_another_try(
    answer: str, inbox: Inbox, server: Controller, certificate: Path, *, permanent: bool
) -> None:
    inbox.answer = answer
    with pytest.raises(DeliveryError, match=answer) as caught:
        channel(server, certificate).deliver(message())

    assert permanent == caught.value.permanent
