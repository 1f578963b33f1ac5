"""The ways in which people are told, as the settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outrider.alerts.channels.base import Channel
    from outrider.settings import Settings


def of_settings(settings: Settings) -> list[Channel]:
    """Return the channels in use; each is imported only then."""
    from outrider.alerts.channels.log import LogChannel

    return [LogChannel(), *_given(settings)]


def _given(settings: Settings) -> Iterator[Channel]:
    notify = settings.notify
    for webhook in notify.webhook:
        from outrider.alerts.channels.webhook import WebhookChannel

        yield WebhookChannel(webhook)
    for mail in notify.email:
        from outrider.alerts.channels.email import EmailChannel

        yield EmailChannel(mail)
    for slack in notify.slack:
        from outrider.alerts.channels.slack import SlackChannel

        yield SlackChannel(slack)
    for discord in notify.discord:
        from outrider.alerts.channels.discord import DiscordChannel

        yield DiscordChannel(discord)
    for telegram in notify.telegram:
        from outrider.alerts.channels.telegram import TelegramChannel

        yield TelegramChannel(telegram)
    for ntfy in notify.ntfy:
        from outrider.alerts.channels.ntfy import NtfyChannel

        yield NtfyChannel(ntfy)
    for sink in notify.alertmanager:
        from outrider.alerts.channels.alertmanager import AlertmanagerChannel

        longest_s = max([notify.repeat_s, *(route.repeat_s or 0.0 for route in settings.route)])
        yield AlertmanagerChannel(sink, longest_s)
    for more in notify.apprise:
        from outrider.alerts.channels.apprise import AppriseChannel

        yield AppriseChannel(more)
