"""The ways in which people are told, as the settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.alerts.channels.base import Channel
    from outrider.settings import Settings


def of_settings(settings: Settings) -> list[Channel]:
    """Return the channels in use; each is imported only then."""
    from outrider.alerts.channels.log import LogChannel

    channels: list[Channel] = [LogChannel()]
    if settings.notify.webhook:
        from outrider.alerts.channels.webhook import WebhookChannel

        channels.append(
            WebhookChannel(
                settings.notify.webhook.url.get_secret_value(),
                allow_private=settings.notify.webhook.allow_private,
            )
        )
    return channels
