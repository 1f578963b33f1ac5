"""Tells any service that Apprise knows. Apprise is an extra, and loaded with the first message.

Its addresses are the operator's own and are not checked as those of other channels are: Apprise
makes its connections itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from outrider.alerts import wording
from outrider.alerts.message import READABLE
from outrider.errors import DeliveryError

if TYPE_CHECKING:
    from outrider.alerts.message import Message
    from outrider.settings_notify import AppriseSettings

_TYPES = {"info": "info", "warning": "warning", "critical": "failure"}


class AppriseChannel:
    """Hands a message to each of its addresses."""

    most_alerts = READABLE
    is_sink = False

    def __init__(self, given: AppriseSettings) -> None:
        self.name = given.name
        self.rate = given.rate
        self._given = given

    def deliver(self, message: Message) -> str:
        """Send the message; how many services took it is the result."""
        try:
            import apprise
        except ImportError:
            raise DeliveryError(
                f"apprise {self.name}: Apprise is not installed: pip install 'outrider[apprise]'",
                permanent=False,
            ) from None
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses, with secrets
        asset = apprise.AppriseAsset(
            app_id="Outrider", interpret_escapes=False, interpret_emojis=False, async_mode=False
        )
        ways = apprise.Apprise(asset=asset)
        for place, url in enumerate(self._given.urls, start=1):
            if not ways.add(url.get_secret_value()):
                raise DeliveryError(
                    f"apprise {self.name}: address {place} is none that Apprise knows; "
                    "see its list of services.",
                    permanent=True,
                )
        kind = _TYPES.get(message.severity, "warning") if message.firing else "success"
        title = wording.clean(wording.title(message), 200)
        if not ways.notify(
            body=wording.text(message), title=title, notify_type=kind, body_format="text"
        ):
            raise DeliveryError(f"apprise {self.name}: a service did not take it", permanent=False)
        return f"{len(ways)} services"
