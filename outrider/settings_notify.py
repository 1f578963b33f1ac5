"""The settings of who is told of alerts, by what, when, and of what nobody wants to hear."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from outrider import hours, units
from outrider.settings_base import HttpAddress, Rate, Seconds, Table, one_or_more

Severity = Literal["info", "warning", "critical"]
_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_Windows = Annotated[tuple[str, ...], AfterValidator(hours.checked)]
LOG = "log"  # the channel that is always there


def parse_level(text: str) -> tuple[float, tuple[str, ...]]:
    """Return a level of escalation: after how many seconds, to which channels.

    >>> parse_level("15m: oncall, mail")
    (900.0, ('oncall', 'mail'))

    Raises:
        ValueError: it is none.
    """
    after, colon, names = text.partition(":")
    channels = tuple(name.strip() for name in names.split(",") if name.strip())
    if not colon or not channels:
        raise ValueError(f"{text!r} is no level; write it like 15m: oncall, mail.")
    return units.parse_duration(after), channels


def _levels(texts: tuple[str, ...]) -> tuple[str, ...]:
    waits = [parse_level(text)[0] for text in texts]
    if waits != sorted(set(waits)) or (waits and waits[0] <= 0):
        raise ValueError("each level must come later than the one before it.")
    return texts


class ChannelSettings(Table):
    """What every channel has."""

    rate: Rate = Field("30/60s", description="messages at most in a time; the rest become a digest")


class _Http(ChannelSettings):
    allow_private: bool = Field(
        default=False, description="allow loopback and private addresses as target"
    )


class WebhookSettings(_Http):
    """Where alerts are posted as JSON: ``[[notify.webhook]]``."""

    name: str = Field("webhook", pattern=_NAME, description="what routes call it")
    url: HttpAddress = Field(description="receives one JSON object a message")
    secret: SecretStr | None = Field(
        None, min_length=16, description="signs each message (HMAC-SHA256); 16 letters or more"
    )


class SlackSettings(_Http):
    """A Slack channel, by its incoming webhook: ``[[notify.slack]]``."""

    name: str = Field("slack", pattern=_NAME, description="what routes call it")
    url: HttpAddress = Field(description="the address that Slack gave you")


class DiscordSettings(_Http):
    """A Discord channel, by its webhook: ``[[notify.discord]]``."""

    name: str = Field("discord", pattern=_NAME, description="what routes call it")
    url: HttpAddress = Field(description="the address that Discord gave you")


class TelegramSettings(_Http):
    """A Telegram chat, by a bot of yours: ``[[notify.telegram]]``."""

    name: str = Field("telegram", pattern=_NAME, description="what routes call it")
    token: SecretStr = Field(description="the token that @BotFather gave you")
    chat: str = Field(min_length=1, description="the chat's number, or @channelname")
    url: HttpAddress = Field(
        SecretStr("https://api.telegram.org"), description="the server of the Bot API"
    )


class NtfySettings(_Http):
    """A topic of ntfy: ``[[notify.ntfy]]``."""

    name: str = Field("ntfy", pattern=_NAME, description="what routes call it")
    url: HttpAddress = Field(SecretStr("https://ntfy.sh"), description="the server")
    topic: SecretStr = Field(min_length=1, description="the topic; who knows it can read it")
    token: SecretStr | None = Field(None, description="an access token, if the topic is protected")


class AlertmanagerSettings(_Http):
    """An Alertmanager that routes further: ``[[notify.alertmanager]]``."""

    name: str = Field("alertmanager", pattern=_NAME, description="what routes call it")
    url: HttpAddress = Field(description="its address, without /api/v2/alerts")


class EmailSettings(ChannelSettings):
    """E-mail by your own server: ``[[notify.email]]``."""

    name: str = Field("email", pattern=_NAME, description="what routes call it")
    host: str = Field(min_length=1, description="the SMTP server")
    port: int = Field(587, ge=1, le=65535, description="587 with starttls, 465 with tls")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="how the connection is encrypted; none only within a machine"
    )
    ca_file: str | None = Field(None, description="certificates to trust besides the machine's")
    user: str | None = Field(None, description="who logs in, if the server wants it")
    password: SecretStr | None = Field(None, description="the password of user")
    sender: str = Field(min_length=3, pattern=r"^[^\s@]+@[^\s@]+$", description="From")
    to: tuple[Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")], ...] = Field(
        min_length=1, description="who gets it"
    )


class AppriseSettings(ChannelSettings):
    """Any service that Apprise knows: ``[[notify.apprise]]``. Needs ``outrider[apprise]``."""

    name: str = Field("apprise", pattern=_NAME, description="what routes call it")
    urls: tuple[SecretStr, ...] = Field(min_length=1, description="addresses as Apprise has them")


class HeartbeatSettings(Table):
    """A ping to somebody who notices when it stays away: ``[notify.heartbeat]``."""

    url: HttpAddress = Field(description="is asked again and again, such as a Healthchecks check")
    every_s: Seconds = Field(60.0, ge=1, le=86_400, description="seconds between two pings")
    allow_private: bool = Field(
        default=False, description="allow loopback and private addresses as target"
    )


class NotifySettings(Table):
    """How people are told: ``[notify]``."""

    group_by: tuple[str, ...] = Field(
        ("host", "rule"), description="alerts with the same values of these share a message"
    )
    group_wait_s: Seconds = Field(
        0.0, ge=0, le=3600, description="wait for more of a group before its first message"
    )
    group_interval_s: Seconds = Field(
        30.0, ge=0, le=86_400, description="between two messages of a group that changes"
    )
    repeat_s: Seconds = Field(14_400.0, ge=60, description="remind while an alert still fires")
    webhook: Annotated[tuple[WebhookSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="post alerts to these addresses"
    )
    email: Annotated[tuple[EmailSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="send alerts by mail"
    )
    slack: Annotated[tuple[SlackSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="Slack channels"
    )
    discord: Annotated[tuple[DiscordSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="Discord channels"
    )
    telegram: Annotated[tuple[TelegramSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="Telegram chats"
    )
    ntfy: Annotated[tuple[NtfySettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="topics of ntfy"
    )
    alertmanager: Annotated[tuple[AlertmanagerSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="Alertmanagers that get every alert"
    )
    apprise: Annotated[tuple[AppriseSettings, ...], BeforeValidator(one_or_more)] = Field(
        (), description="services that Apprise knows"
    )
    heartbeat: HeartbeatSettings | None = Field(None, description="ping so that our end is noticed")

    def channels(self) -> list[str]:
        """Return the names of all channels, the log's first."""
        kinds = (
            self.webhook, self.email, self.slack, self.discord, self.telegram, self.ntfy,
            self.alertmanager, self.apprise,
        )  # fmt: skip
        return [LOG, *(channel.name for kind in kinds for channel in kind)]

    @model_validator(mode="after")
    def _names_differ(self) -> NotifySettings:
        names = self.channels()
        if twice := {name for name in names if names.count(name) > 1}:
            named = ", ".join(sorted(twice))
            raise ValueError(f"two channels are called {named}; give them different names.")
        return self


class RouteSettings(Table):
    """Who is told of some alerts, and how: ``[[route]]``. The first that matches counts."""

    name: str = Field(pattern=_NAME, description="what the notification log calls it")
    match: dict[str, str] = Field(
        default_factory=dict, description="label = pattern, with * for anything; all must match"
    )
    channels: tuple[str, ...] = Field((), description="names of channels; none: every channel")
    proceed: bool = Field(default=False, description="also use the next route that matches")
    group_by: tuple[str, ...] | None = Field(None, description="as in [notify]")
    group_wait_s: Seconds | None = Field(None, ge=0, le=3600, description="as in [notify]")
    group_interval_s: Seconds | None = Field(None, ge=0, le=86_400, description="as in [notify]")
    repeat_s: Seconds | None = Field(None, ge=60, description="as in [notify]")
    escalate: Annotated[tuple[str, ...], AfterValidator(_levels)] = Field(
        (), description="who else is told when nobody acknowledges: after how long, by what"
    )
    quiet: _Windows = Field((), description="hours in which messages wait for their end")
    digest_s: Seconds | None = Field(
        None, ge=60, le=604_800, description="collect messages and send one in this time"
    )
    urgent: Severity | Literal["never"] = Field(
        "critical", description="from this severity on, neither quiet hours nor digest hold it back"
    )


class SilenceSettings(Table):
    """A silence that returns: ``[[silence]]``. One-off ones: ``outrider alerts silence``."""

    name: str = Field(pattern=_NAME, description="what the notification log calls it")
    match: dict[str, str] = Field(min_length=1, description="label = pattern; all must match")
    when: _Windows = Field(min_length=1, description="hours in which it holds")


class InhibitSettings(Table):
    """What an alert hides: ``[[inhibit]]``. One with a built-in's name replaces it."""

    name: str = Field(min_length=1, max_length=200, description="a name of its own")
    source: dict[str, str] = Field(min_length=1, description="label = pattern of what hides")
    target: dict[str, str] = Field(
        default_factory=dict, description="label = pattern of what is hidden"
    )
    equal: tuple[str, ...] = Field((), description="labels that both must have, with equal values")
    enabled: bool = Field(default=True, description="false takes a built-in one away")
