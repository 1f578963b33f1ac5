"""A small OpenID provider on loopback, which approves everybody at once and can be told to lie."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

CLIENT, SECRET = "outrider", "secret-of-a-test"


class Provider:
    """``claims`` go into the ID token; ``lies`` change what an honest one would do."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        self.claims: dict[str, Any] = {"email": "ann@example.com", "email_verified": True}
        self.algorithm = "RS256"
        self.signs: Any = None
        self.now_s = time.time
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _discovery(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        at = self.issuer
        return JSONResponse(
            {
                "issuer": at,
                "authorization_endpoint": f"{at}/authorize",
                "token_endpoint": f"{at}/token",
                "jwks_uri": f"{at}/keys",
            }
        )

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        back = urllib.parse.urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", status_code=303)

    async def _token(self, request: Request) -> Response:
        given = dict(urllib.parse.parse_qsl((await request.body()).decode()))
        asked = self._codes.pop(given["code"], None)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = _b64(digest)
        pair = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != given["redirect_uri"]
            or request.headers.get("authorization") != f"Basic {pair}"
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now_s = int(self.now_s())
        claims = {
            "iss": self.issuer, "sub": "1", "aud": CLIENT, "iat": now_s, "exp": now_s + 300,
            "nonce": asked["nonce"], **self.claims,
        }  # fmt: skip
        header = {"alg": self.algorithm, "kid": "one"}
        if self.algorithm in ("none", "HS256"):
            id_token = self._forged(header, claims)
        else:
            id_token = jwt.encode(header, claims, self.signs or self.key)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": id_token})

    async def _keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    def _forged(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Sign with nothing, or with the public key as a secret, as who has only that would."""
        said = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        key = self.key.as_pem(private=False)
        signature = hmac.digest(key, said.encode(), "sha256") if header["alg"] == "HS256" else b""
        return f"{said}.{_b64(signature)}"


def _b64(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).decode().rstrip("=")


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """Serve a provider until the end of the block."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    provider = Provider(listening.getsockname()[1])
    config = uvicorn.Config(provider.app, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
