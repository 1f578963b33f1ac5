"""Every Redis key that Outrider writes, in one place. All begin with ``or:``.

| key | holds |
|---|---|
| ``or:hosts`` | sorted set: host -> time of its last heartbeat |
| ``or:ts:{host}:{chunk}`` | hash: a tick's start in seconds -> packed row (an hour of rows) |
| ``or:ts:{host}:{chunk}:names`` | hash: schema id -> series names |
| ``or:ts:{host}:{chunk}:sealed`` | the same hour, compressed |
| ``or:ts:{host}:chunks`` | sorted set: the hours that have rows |
| ``or:ts:hosts`` | set: hosts that have rows |
| ``or:ts5m:...`` | the same three, for the five-minute summaries |
| ``or:report:{host}`` | JSON: the newest analysis |
| ``or:analysis:{host}`` | hash: last tick learned, state of the estimators, damaged states |
| ``or:findings:{host}`` | sorted set: when -> JSON of an anomaly, a change, another verdict |
| ``or:outlook:{host}`` | JSON: when limits are met, and forecasts |
| ``or:bots:{host}`` | JSON: the supervisor's word on every bot, at the last tick |
| ``or:baseline:{host}`` | JSON: what is normal for each series, and what it is now |
| ``or:alerts:state:{host}`` | hash: rule and instance -> JSON state |
| ``or:alerts:history`` | list: every change of state, newest first |
| ``or:alerts:outbox`` | hash: changes that not every channel was told of yet |
| ``or:alerts:log`` | list: who was told, when, with what result |
| ``or:actions`` | list: who did what to which bot, and how it ended |
| ``or:beat:lease`` / ``or:beat:token`` | who schedules now / fencing token |
| ``or:beat:ticks`` | hash: entry -> last tick sent |
| ``or:beat:missed`` | list: ticks that nobody could send |
| ``or:deliveries:{task}`` | how often a task was delivered |
| ``or:dead`` | list: tasks given up after too many deliveries |
| ``or:frames:{host}`` | hash: bot -> telemetry of a bot that runs unsupervised |
| ``or:actions:seen:{host}`` | the last of a supervisor's events that was stored |
| ``or:alerts:done:{id}`` | channels that were told of a change |
| ``or:validation:{run}`` | JSON: a validation report |
| ``or:validation:newest`` | the run whose report is the newest |
| ``or:validation:ts:...`` | as ``or:ts``: rows of a validation's own, for as long as it runs |
| ``or:tune:{what}`` | JSON: the newest tuning report |
| ``or:cache:...`` | values and usage of caches (see ``outrider.cache``) |
"""

from __future__ import annotations

HOSTS = "or:hosts"
SERIES = "or:ts"
SUMMARIES = "or:ts5m"
HISTORY = "or:alerts:history"
OUTBOX = "or:alerts:outbox"
NOTIFICATIONS = "or:alerts:log"
ACTIONS = "or:actions"
LEASE = "or:beat:lease"
TOKEN = "or:beat:token"  # noqa: S105 - a fencing token, no secret
TICKS = "or:beat:ticks"
MISSED = "or:beat:missed"
DEAD = "or:dead"
VALIDATION_NEWEST = "or:validation:newest"
VALIDATION_SERIES = "or:validation:ts"
FLEET = "fleet"  # the name under which series of no single host are kept


def chunk(host: str, start_s: int, tier: str = SERIES) -> str:
    """Return the key of the rows of the hour that starts at ``start_s``."""
    return f"{tier}:{host}:{start_s}"


def chunks(host: str, tier: str = SERIES) -> str:
    """Return the key of the list of a host's hours."""
    return f"{tier}:{host}:chunks"


def series_hosts(tier: str = SERIES) -> str:
    """Return the key of the set of hosts that have rows."""
    return f"{tier}:hosts"


def report(host: str) -> str:
    """Return the key of a host's newest analysis."""
    return f"or:report:{host}"


def analysis(host: str) -> str:
    """Return the key of what the analysis of a host remembers."""
    return f"or:analysis:{host}"


def findings(host: str) -> str:
    """Return the key of what was found on a host over the last week."""
    return f"or:findings:{host}"


def outlook(host: str) -> str:
    """Return the key of the forecasts of a host."""
    return f"or:outlook:{host}"


def bots(host: str) -> str:
    """Return the key of the supervisor's word on a host's bots."""
    return f"or:bots:{host}"


def baseline(host: str) -> str:
    """Return the key of what is normal on a host."""
    return f"or:baseline:{host}"


def alert_state(host: str) -> str:
    """Return the key of the alert states of a host."""
    return f"or:alerts:state:{host}"


def deliveries(task_id: str) -> str:
    """Return the key that counts a task's deliveries."""
    return f"or:deliveries:{task_id}"


def frames(host: str) -> str:
    """Return the key of the telemetry of a host's unsupervised bots."""
    return f"or:frames:{host}"


def actions_seen(host: str) -> str:
    """Return the key that remembers which supervisor events were stored."""
    return f"or:actions:seen:{host}"


def told(transition: str) -> str:
    """Return the key of the channels that were told of a change of state."""
    return f"or:alerts:done:{transition}"


def validation(run: str) -> str:
    """Return the key of a validation report."""
    return f"or:validation:{run}"


def tuning(what: str) -> str:
    """Return the key of a tuning report."""
    return f"or:tune:{what}"
