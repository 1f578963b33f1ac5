"""Sends a mail by SMTP, over TLS unless told otherwise. The messages of a group are one thread."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import TYPE_CHECKING

from outrider.alerts import wording
from outrider.alerts.message import READABLE
from outrider.errors import DeliveryError

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import EmailSettings

TIMEOUT_S = 8.0
_MOST_SUBJECT, _MOST = 200, 20_000
_FOR_GOOD = 500


class EmailChannel:
    """One connection a mail: a fleet that is well sends none for weeks."""

    most_alerts = 4 * READABLE
    is_sink = False

    def __init__(self, given: EmailSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Hand the mail to the server; who refused it is the result."""
        mail, what = self.mail(message), f"email {self.name}"
        try:
            with self._connected() as server:
                if self._given.user and self._given.password:
                    server.login(self._given.user, self._given.password.get_secret_value())
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise DeliveryError(
                f"{what}: the server refuses every recipient ({codes})",
                permanent=min(codes) >= _FOR_GOOD,
            ) from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error
            said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
            raise DeliveryError(
                f"{what}: the server says {error.smtp_code} {said}",
                permanent=error.smtp_code >= _FOR_GOOD,
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(
                f"{what}: {self._given.host} is not trusted: {error.verify_message}; "
                "name its authority with ca_file.",
                permanent=False,
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(f"{what}: {error}", permanent=True) from None
        except (OSError, smtplib.SMTPException) as error:
            said = str(error) or type(error).__name__
            raise DeliveryError(f"{what}: {self._given.host}: {said}", permanent=False) from None
        return "sent" if not refused else f"sent, but not to {', '.join(refused)}"

    def mail(self, message: Message) -> EmailMessage:
        """Return the mail. Its subject is one line, its text plain."""
        mail = EmailMessage()
        mail["Subject"] = wording.clean(wording.title(message), _MOST_SUBJECT)
        mail["From"] = self._given.sender
        mail["To"] = ", ".join(self._given.to)
        mail["Date"] = formatdate(message.at_s)
        domain = self._given.sender.rpartition("@")[2]
        mail["Message-ID"] = f"<{message.id}@{domain}>"
        if message.group:
            mail["References"] = f"<{message.group}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(wording.text(message, _MOST) + "\n")
        return mail

    def _connected(self) -> smtplib.SMTP:
        given = self._given
        if given.security == "tls":
            return smtplib.SMTP_SSL(given.host, given.port, timeout=TIMEOUT_S, context=self._tls())
        server = smtplib.SMTP(given.host, given.port, timeout=TIMEOUT_S)
        if given.security == "starttls":
            try:
                server.starttls(context=self._tls())
            except BaseException:
                server.close()
                raise
        return server

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._given.ca_file:
            context.load_verify_locations(self._given.ca_file)
        return context
