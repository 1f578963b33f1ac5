"""Every Redis key that Outrider writes, in one place. All begin with ``or:``.

| key | holds |
|---|---|
| ``or:hosts`` | sorted set: host -> time of its last heartbeat |
| ``or:ts:{host}:chunks`` | sorted set: the pieces that a host's rows lie in, by their end |
| ``or:ts:{host}:h:{step}:{tick}:{ticks}`` | hash: tick -> raw row, of the range from a tick on |
| ``or:ts:{host}:m:{step}:{tick}:{ticks}`` | the same range, compressed by column |
| ``or:ts:{host}:s:{step}:{tick}:{ticks}`` | a chunk: the ranges of 720 ticks, merged |
| ``or:ts:{host}:schemas`` | hash: schema id -> series names, compressed |
| ``or:ts:{host}:forgotten`` | up to when rows were forgotten; older ones are refused |
| ``or:ts:hosts`` | set: hosts that have rows |
| ``or:ts5m:...`` | as ``or:ts``: the five-minute roll-ups |
| ``or:ts1h:...`` | as ``or:ts``: the hourly roll-ups |
| ``or:sk:{host}:{chunk}`` | hash: a tick's start -> sketches of all timings (an hour of them) |
| ``or:sk:{host}:{chunk}:sealed`` | hash: timing -> its sketches of that hour, compressed |
| ``or:sk:{host}:chunks`` | sorted set: the hours that have sketches |
| ``or:sk5m:...`` | as ``or:sk``: sketches of five minutes, a day of them together |
| ``or:sk1h:...`` | as ``or:sk``: sketches of an hour, 30 days of them together |
| ``or:upkeep:{host}`` | who seals and rolls up a host now, for two minutes at most |
| ``or:report:{host}`` | JSON: the newest analysis |
| ``or:analysis:{host}`` | hash: last tick learned, state of the estimators, damaged states |
| ``or:findings:{host}`` | sorted set: when -> JSON of an anomaly, a change, another verdict |
| ``or:outlook:{host}`` | JSON: when limits are met, and forecasts |
| ``or:bots:{host}`` | JSON: the supervisor's word on every bot, at the last tick |
| ``or:crashes:{host}`` | hash: bot -> JSON: how it ended last, its last lines and metrics |
| ``or:baseline:{host}`` | JSON: what is normal for each series, and what it is now |
| ``or:alerts:state:{host}`` | hash: rule and instance -> JSON state |
| ``or:alerts:history`` | list: every change of state, newest first |
| ``or:alerts:outbox`` | hash: changes that no group took yet |
| ``or:alerts:groups`` | sorted set: group of alerts -> when it is looked at again |
| ``or:alerts:group:{group}`` | hash: its route and labels, and when it was told |
| ``or:alerts:group:{group}:members`` | hash: alert -> its newest change |
| ``or:alerts:group:{group}:told`` | set: alerts that people know to fire |
| ``or:alerts:channels`` | hash: channel -> JSON: its failures, pause and rate |
| ``or:alerts:messages:{channel}`` | hash: group -> JSON: the message that waits |
| ``or:alerts:due:{channel}`` | sorted set: group -> when its message may be sent |
| ``or:alerts:claim:{channel}`` | who sends by that channel now, for half a minute at most |
| ``or:alerts:silences`` | hash: id -> JSON: a silence, with author and end |
| ``or:alerts:acks`` | hash: alert -> JSON: who acknowledged it, until when |
| ``or:alerts:comments`` | list: what people said and did about alerts, newest first |
| ``or:alerts:ping`` | the ping that says that we are alive was sent, until the next is due |
| ``or:alerts:log`` | list: who was told, when, with what result |
| ``or:slo:state`` | JSON: good and total of every budget, and what was counted of each host |
| ``or:slo:maintenance`` | hash: id -> JSON: a window of planned maintenance |
| ``or:actions`` | list: who did what to which bot, and how it ended |
| ``or:web:access`` | list: who logged in to the dashboard, and what they did |
| ``or:web:refused`` | list: whom the dashboard turned away, and why |
| ``or:web:revoked`` | sorted set: session that was logged out -> when its cookie expires |
| ``or:scaling:{host}`` | hash: bot or pool that scales -> JSON: the newest decision |
| ``or:beat:lease`` / ``or:beat:token`` | who schedules now / fencing token |
| ``or:beat:ticks`` | hash: entry -> last tick sent |
| ``or:beat:missed`` | list: ticks that nobody could send |
| ``or:deliveries:{task}`` | how often a task was delivered |
| ``or:dead`` | list: tasks given up after too many deliveries |
| ``or:frames:{host}`` | hash: bot -> telemetry of a bot that runs unsupervised |
| ``or:frames:{host}:missed`` | list: frames that it could not leave while Redis was away |
| ``or:actions:seen:{host}`` | the last of a supervisor's events that was stored |
| ``or:validation:{run}`` | JSON: a validation report |
| ``or:validation:newest`` | the run whose report is the newest |
| ``or:validation:ts:...`` | as ``or:ts``: rows of a validation's own, for as long as it runs |
| ``or:tune:{what}`` | JSON: the newest tuning report |
| ``or:celery:apps`` | sorted set: Celery application -> when something was last written of it |
| ``or:celery:{app}:counts`` | hash: kind, task, worker, queue and exception -> count |
| ``or:celery:{app}:runtimes:{tick}`` | hash: task and sketch bucket -> tasks that ended in a tick |
| ``or:celery:{app}:workers`` | hash: worker -> JSON: its newest heartbeat |
| ``or:celery:{app}:receiver`` | JSON: whether somebody hears this application's events |
| ``or:celery:{app}:look`` | JSON: the newest look at this application's queues |
| ``or:celery:{app}:heads`` | hash: list in the broker -> since when its messages wait |
| ``or:celery:{app}:open`` | hash: worker that counts and has not ended -> its pid |
| ``or:celery:{app}:shown`` | set: tasks and exceptions that have series of their own |
| ``or:celery:{app}:lease`` / ``or:celery:{app}:token`` | who watches it / fencing token |
| ``or:celery:batch:{writer}`` | the last batch of counts that a process added |
| ``or:db:{server}:{part}`` | a database server's connections: the plan, and who has how many |
| ``or:db:{server}:statements`` | hash: process -> what its statements cost since it began |
| ``or:db:{server}:statements:before`` | the same, as of the last look that learnt |
| ``or:db:{server}:statements:texts`` | hash: fingerprint -> a text of it, without values |
| ``or:db:{server}:changes`` | list: what was changed on the server: who, when, before, after |
| ``or:db:{server}:changes:lock`` | who begins a change now |
| ``or:cache:...`` | values and usage of caches (see ``outrider.cache``) |
"""

from __future__ import annotations

HOSTS = "or:hosts"
SERIES = "or:ts"
SUMMARIES = "or:ts5m"
HOURS = "or:ts1h"
SKETCHES, SKETCHES_5M, SKETCHES_1H = "or:sk", "or:sk5m", "or:sk1h"
HISTORY = "or:alerts:history"
OUTBOX = "or:alerts:outbox"
NOTIFICATIONS = "or:alerts:log"
SLO_STATE = "or:slo:state"
MAINTENANCE = "or:slo:maintenance"
GROUPS = "or:alerts:groups"
CHANNELS = "or:alerts:channels"
SILENCES = "or:alerts:silences"
ACKS = "or:alerts:acks"
COMMENTS = "or:alerts:comments"
PING = "or:alerts:ping"
ACTIONS = "or:actions"
ACCESS = "or:web:access"
REFUSED = "or:web:refused"
REVOKED = "or:web:revoked"
LEASE = "or:beat:lease"
TOKEN = "or:beat:token"  # noqa: S105 - a fencing token, no secret
TICKS = "or:beat:ticks"
MISSED = "or:beat:missed"
DEAD = "or:dead"
VALIDATION_NEWEST = "or:validation:newest"
VALIDATION_SERIES = "or:validation:ts"
CELERY_APPS = "or:celery:apps"
FLEET = "fleet"  # the name under which series of no single host are kept


def piece(host: str, name: str, tier: str = SERIES) -> str:
    """Return the key of a piece of a host's rows (its name: ``outrider.store.spans``)."""
    return f"{tier}:{host}:{name}"


def chunks(host: str, tier: str = SERIES) -> str:
    """Return the key of the list of the pieces that a host's rows lie in."""
    return f"{tier}:{host}:chunks"


def schemas(host: str, tier: str = SERIES) -> str:
    """Return the key of the names of a host's series."""
    return f"{tier}:{host}:schemas"


def forgotten(host: str, tier: str = SERIES) -> str:
    """Return the key of the time up to which a host's rows were forgotten."""
    return f"{tier}:{host}:forgotten"


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


def crashes(host: str) -> str:
    """Return the key of the newest crash report of each of a host's bots."""
    return f"or:crashes:{host}"


def scaling(host: str) -> str:
    """Return the key of what a host's scalers decided last."""
    return f"or:scaling:{host}"


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


def missed_frames(host: str) -> str:
    """Return the key of what a host's unsupervised bots could not leave in time."""
    return f"or:frames:{host}:missed"


def actions_seen(host: str) -> str:
    """Return the key that remembers which supervisor events were stored."""
    return f"or:actions:seen:{host}"


def group(name: str, what: str = "") -> str:
    """Return a key of a group of alerts: its own, ``members``, ``told`` or ``missed``."""
    return f"or:alerts:group:{name}{':' if what else ''}{what}"


def messages(channel: str) -> str:
    """Return the key of the messages that wait for a channel."""
    return f"or:alerts:messages:{channel}"


def due(channel: str) -> str:
    """Return the key of when the messages of a channel may be sent."""
    return f"or:alerts:due:{channel}"


def sending(channel: str) -> str:
    """Return the key of who sends by a channel now."""
    return f"or:alerts:claim:{channel}"


def validation(run: str) -> str:
    """Return the key of a validation report."""
    return f"or:validation:{run}"


def upkeep(host: str) -> str:
    """Return the key of who seals and rolls up a host now."""
    return f"or:upkeep:{host}"


def pool_budget(server: str, part: str) -> str:
    """Where a part of a database server's budget of connections is kept."""
    return f"or:db:{server}:{part}"


def database_statements(server: str, what: str = "") -> str:
    """Return the key of what bots' statements cost: now, ``before``, or their ``texts``."""
    return f"or:db:{server}:statements{':' if what else ''}{what}"


def database_changes(server: str) -> str:
    """Return the key of the record of what was changed on a database server."""
    return f"or:db:{server}:changes"


def tuning(what: str) -> str:
    """Return the key of a tuning report."""
    return f"or:tune:{what}"


def celery(app: str, what: str) -> str:
    """Return a key of a Celery application: ``counts``, ``workers``, ``look``, ..."""
    return f"or:celery:{app}:{what}"


def celery_runtimes(app: str, tick: int) -> str:
    """Return the key of the runtimes of the tasks that ended in a tick."""
    return f"or:celery:{app}:runtimes:{tick}"


def celery_batch(writer: str) -> str:
    """Return the key of the last batch of counts that a process added."""
    return f"or:celery:batch:{writer}"
