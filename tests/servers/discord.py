"""Discord on this machine: its gateway and what a client asks of its HTTP API."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GUILD, CHANNEL, APPLICATION, PERSON = "1000", "2000", "3000", "4000"
_EPOCH_MS = 1_420_070_400_000


def snowflake(age_s: float = 0.0) -> str:
    """Return the id of something that came to be a while ago."""
    return str((int((time.time() - age_s) * 1000) - _EPOCH_MS) << 22)


def user(name: str = "ada", number: str = PERSON) -> dict[str, Any]:
    return {
        "id": number, "username": name, "discriminator": "0", "avatar": None, "global_name": None,
    }  # fmt: skip


def message(text: str, *, age_s: float = 0.0) -> dict[str, Any]:
    return {
        "id": snowflake(age_s), "channel_id": CHANNEL, "guild_id": GUILD, "author": user(),
        "member": {"roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0},
        "content": text, "timestamp": "2026-01-01T00:00:00+00:00", "edited_timestamp": None,
        "tts": False, "mention_everyone": False, "mentions": [], "mention_roles": [],
        "attachments": [], "embeds": [], "pinned": False, "type": 0,
    }  # fmt: skip


def interaction(kind: int, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": snowflake(), "application_id": APPLICATION, "type": kind, "token": "t",
        "version": 1, "data": data, "user": user(), "attachment_size_limit": 1,
        "channel": {"id": CHANNEL, "type": 1, "recipients": []}, **more,
    }  # fmt: skip


_GUILD = {
    "id": GUILD, "name": "home", "owner_id": PERSON, "unavailable": False, "member_count": 1,
    "roles": [
        {
            "id": GUILD, "name": "@everyone", "permissions": "0", "position": 0, "color": 0,
            "hoist": False, "managed": False, "mentionable": False,
        }
    ],
    "channels": [{"id": CHANNEL, "type": 0, "name": "talk", "position": 0}],
    "emojis": [], "features": [], "members": [], "presences": [], "threads": [],
    "voice_states": [], "stage_instances": [], "guild_scheduled_events": [], "stickers": [],
    "verification_level": 0, "default_message_notifications": 0, "explicit_content_filter": 0,
    "mfa_level": 0, "premium_tier": 0, "preferred_locale": "en-US", "nsfw_level": 0,
    "afk_timeout": 60, "system_channel_flags": 0,
}  # fmt: skip
_APPLICATION = {
    "id": APPLICATION, "name": "bot", "icon": None, "description": "", "bot_public": True,
    "bot_require_code_grant": False, "verify_key": "", "flags": 0, "owner": user(), "summary": "",
}  # fmt: skip


def answer(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return JSON as Discord does, which names no charset: discord.py would read it as text."""
    told = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(data).encode(), status=status, headers=told)


class Discord:
    """The server. ``answers`` are what the next messages are answered with, if not with success."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[web.Response] = []
        self._socket: web.WebSocketResponse | None = None
        self._sent = 0

    async def tell(self, event: str, data: dict[str, Any]) -> None:
        """Send an event to the client that is connected."""
        assert self._socket is not None
        self._sent += 1
        await self._socket.send_json({"op": 0, "t": event, "s": self._sent, "d": data})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Discord]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/users/@me", self._me),
                web.get("/oauth2/applications/@me", self._application),
                web.post("/channels/{id}/messages", self._message),
                web.post("/interactions/{id}/{token}/callback", self._callback),
                web.get("/gateway", self._gateway),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0][:2])
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _me(self, _request: web.Request) -> web.Response:
        return answer(user("bot", APPLICATION) | {"bot": True})

    async def _application(self, _request: web.Request) -> web.Response:
        return answer(_APPLICATION)

    async def _message(self, request: web.Request) -> web.Response:
        said = await request.json()
        return self.answers.pop(0) if self.answers else answer(message(said["content"]))

    async def _callback(self, request: web.Request) -> web.Response:
        return answer({"interaction": {"id": request.match_info["id"], "type": 2}}, status=200)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 41250}})
        async for received in socket:
            match json.loads(received.data)["op"]:
                case 1:
                    await asyncio.sleep(0)
                    await socket.send_json({"op": 11})
                case 2:
                    ready = {
                        "v": 10, "user": user("bot", APPLICATION), "session_id": "s",
                        "guilds": [{"id": GUILD, "unavailable": True}],
                        "resume_gateway_url": f"{self.url}/gateway",
                        "application": {"id": APPLICATION, "flags": 0},
                    }  # fmt: skip
                    await self.tell("READY", ready)
                    await self.tell("GUILD_CREATE", _GUILD)
        return socket


def refusal(retry_after_s: float) -> web.Response:
    """Return Discord's answer to those who are too fast."""
    return answer(
        {"message": "You are being rate limited.", "retry_after": retry_after_s, "global": False},
        status=429,
        headers={"Retry-After": str(retry_after_s), "Via": "1.1 google"},
    )


def last_of_bucket(reset_after_s: float) -> web.Response:
    """Return a success that took the last token of its bucket."""
    return answer(
        message("hi"),
        headers={
            "X-RateLimit-Bucket": "b", "X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset-After": str(reset_after_s),
        },
    )  # fmt: skip
