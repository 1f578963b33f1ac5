"""The HTTP API in OpenAPI's words (``GET /api/openapi.json``), held by a test over every route."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from outrider.web import actions

Schema = dict[str, Any]

_WHY: Schema = {
    "type": "string", "maxLength": actions.LONGEST_WHY, "pattern": actions.LINE,
    "description": "kept with the action",
}  # fmt: skip
_ALERT: Schema = {
    "type": "string", "minLength": 1, "maxLength": actions.LONGEST_NAME,
    "pattern": actions.LINE,
    "description": "an alert's key: host|rule|instance",
}  # fmt: skip
_LASTS: Schema = {"type": "number", "minimum": 1, "maximum": actions.LONGEST_S}
_BOT: Schema = {"type": "string", "pattern": actions.BOT}
_HOST: Schema = {"type": "string", "minLength": 1, "maxLength": 63, "pattern": actions.LINE}
_WORD: Schema = {
    "type": "string", "minLength": 1, "maxLength": actions.LONGEST_PATTERN,
    "pattern": actions.LINE,
}  # fmt: skip
_BODIES: dict[str, tuple[str, dict[str, Schema], list[str]]] = {
    "ack": (
        "Acknowledge an alert that fires, until it clears or for a time",
        {"alert": _ALERT, "lasts_s": {**_LASTS, "type": ["number", "null"]}},
        ["alert"],
    ),
    "unack": ("Take an acknowledgement back", {"alert": _ALERT}, ["alert"]),
    "silence": (
        "Have nobody told of alerts that match, for a time",
        {
            "matchers": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": actions.MOST_MATCHERS,
                "description": "label: pattern, * for anything; one at least is not only *",
                "propertyNames": _WORD,
                "additionalProperties": _WORD,
            },
            "lasts_s": _LASTS,
        },
        ["matchers", "lasts_s"],
    ),
    "unsilence": (
        "End a silence now",
        {"silence": {**_WORD, "maxLength": 40}},
        ["silence"],
    ),
    "restart": ("Restart a bot", {"bot": _BOT, "host": _HOST}, ["bot", "host"]),
    "scale": (
        "Run as many processes of a bot as asked",
        {
            "bot": _BOT,
            "host": _HOST,
            "replicas": {"type": "integer", "minimum": 0, "maximum": actions.MOST_REPLICAS},
        },
        ["bot", "host", "replicas"],
    ),
}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
# Path -> summary, parameters of the query, whether it answers 400 to some, its content type.
_READS: dict[str, tuple[str, dict[str, Schema], str]] = {
    "/api/status": ("The fleet now: verdict, bots, alerts, events", {}, "application/json"),
    "/api/series": (
        "Which series there are", {"host": _TEXT, "match": _TEXT}, "application/json",
    ),
    "/api/query": (
        "One series over a range",
        {"host": _TEXT, "series": _TEXT, "start": _NUMBER, "end": _NUMBER, "points": _NUMBER},
        "application/json",
    ),
    "/api/analysis": (
        "A host's diagnosis, with its pictures", {"host": _TEXT, "since": _TEXT},
        "application/json",
    ),
    "/api/alerts": ("Alerts, groups, silences, and who was told", {}, "application/json"),
    "/api/slo": ("Objectives and their budgets", {}, "application/json"),
    "/api/database": ("Pools, waiting, blocked, advice", {}, "application/json"),
    "/api/cache": ("Caches and what warming did", {"namespace": _TEXT}, "application/json"),
    "/api/queues": ("Queues, workers and tasks", {}, "application/json"),
    "/api/changes": ("What was done, by whom, and how it ended", {}, "application/json"),
    "/api/bot": ("All that is known of a bot", {"host": _TEXT, "name": _TEXT}, "application/json"),
    "/api/host": ("All that is known of a host", {"name": _TEXT}, "application/json"),
    "/api/ribbons": (
        "The last 24 hours of every bot: u up, a degraded or alerting, d down, - nothing measured",
        {}, "application/json",
    ),
    "/api/me": ("Who asks, and the token that changes need", {}, "application/json"),
    "/api/access": (
        "Logins and actions, or refusals; operators only",
        {
            "most": {"type": "integer", "minimum": 1, "maximum": 1000},
            "refused": {"type": "string", "enum": ["0", "1"]},
        },
        "application/json",
    ),
    "/api/openapi.json": ("This description", {}, "application/json"),
    "/metrics": ("Every series for Prometheus", {}, "text/plain"),
}  # fmt: skip


def describe(root_path: str = "") -> Schema:
    """Return the description; ``root_path`` is where a proxy puts the API."""
    paths: Schema = {path: {"get": _read(path, *said)} for path, said in _READS.items()}
    for what, (summary, fields, required) in _BODIES.items():
        paths[f"/api/actions/{what}"] = {"post": _action(what, summary, fields, required)}
    for path, summary in (
        ("/healthz", "Whether this process answers"),
        ("/readyz", "Whether the fleet is measured, and if not why"),
    ):
        answers = {"200": {"description": "it does"}}
        if path == "/readyz":
            answers["503"] = {"description": "it is not"}
        paths[path] = {
            "get": {
                "operationId": path[1:], "summary": summary, "security": [],
                "responses": answers | _every("413", "414"),
            }
        }  # fmt: skip
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outrider", "version": metadata.version("outrider")},
        "servers": [{"url": root_path or "/"}],
        "security": [{"token": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                },
                "Done": {
                    "type": "object",
                    "properties": {"ok": {"const": True}, "result": {"type": "string"}},
                    "required": ["ok", "result"],
                },
            },
        },
    }


def _read(path: str, summary: str, query: dict[str, Schema], media_type: str) -> Schema:
    schema: Schema = {"type": "object"} if media_type == "application/json" else {"type": "string"}
    return {
        "operationId": path.strip("/").replace("/", "_").replace(".", "_"),
        "summary": summary,
        "parameters": [
            {"name": name, "in": "query", "schema": kind} for name, kind in query.items()
        ],
        "responses": {
            "200": {"description": "what was asked", "content": {media_type: {"schema": schema}}},
            **_every(*(("400",) if query else ()), "401", "403", "413", "414", "429", "503"),
        },
    }


def _action(what: str, summary: str, fields: dict[str, Schema], required: list[str]) -> Schema:
    body: Schema = {
        "type": "object",
        "properties": {**fields, "why": _WHY},
        "required": required,
        "additionalProperties": False,
    }
    done = {"application/json": {"schema": {"$ref": "#/components/schemas/Done"}}}
    refusals = ("400", "401", "403", "404", "413", "414", "415", "429", "502", "503", "504")
    return {
        "operationId": what,
        "summary": summary,
        "description": "With a session's cookie, X-Outrider-CSRF must hold what /api/me tells.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "done", "content": done}, **_every(*refusals)},
    }


_REFUSALS = {
    "400": "something about it is wrong",
    "401": "who asks is not known",
    "403": "sent by another site, or more than the role allows",
    "404": "what it is about is not there",
    "413": "the body is too large",
    "414": "the address is too long",
    "415": "the body is no JSON",
    "429": "wrong too often; Retry-After says when",
    "502": "the supervisor could not do it",
    "503": "Redis or the supervisor does not answer",
    "504": "no worker took it",
}


def _every(*codes: str) -> Schema:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code: {"description": _REFUSALS[code], "content": error} for code in codes}
