"""``outrider warm``: fills a cache in Redis from its hottest keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from outrider.cli import here, terminal
from outrider.errors import BadArgument

if TYPE_CHECKING:
    import redis

    from outrider.settings import Settings

EXIT_INCOMPLETE = 1
BATCH = 5
_LOOK_S = 0.1


@click.command()
@click.argument("namespace")
@click.option("--bot", metavar="NAME", help="only keys that this bot used last")
@click.option("--top", default=100, show_default=True, help="how many keys, the hottest first")
@click.option("--within", default="10s", show_default=True, metavar="TIME",
              help="stop waiting after this")  # fmt: skip
def warm(namespace: str, bot: str | None, top: int, within: str) -> None:
    """Load the hottest keys of NAMESPACE into Redis, where its bots find them.

    Workers run the loaders that `[warm] loaders` allows; the others run inside the bots that use
    them. A key whose value is fresh is left alone. Exit code 0: all filled. 1: some could not be,
    or not in time. 2: nobody uses such a namespace. 3: no stack runs here.

    \b
    Examples:
      outrider warm profiles
      outrider warm prices --bot canary --top 500 --within 30s
    """
    from outrider.cache import coldstart, usage
    from outrider.units import parse_duration

    if top < 1:
        raise BadArgument(f"--top {top} must be at least 1.")
    try:
        within_s = parse_duration(within)
    except ValueError as error:
        raise BadArgument(f"--within: {error}") from None
    settings, client, _ = here.opened()
    keys = coldstart.hottest(client, namespace, top, bot=bot)
    if not keys:
        known = ", ".join(usage.namespaces(client, time.time())) or "none"
        raise BadArgument(
            f"nothing that can be loaded again was used in {namespace!r} within a day"
            f"{f' by {bot}' if bot else ''}; in use: {known}."
        )
    _fill(settings, client, namespace, keys, within_s=within_s)


def _fill(
    settings: Settings, client: redis.Redis, namespace: str, keys: list[str], *, within_s: float
) -> None:
    from outrider.cache import usage

    ends_s = time.monotonic() + within_s
    use = usage.read(client, namespace)[keys[0]]
    by_workers = use.loader.partition(":")[0] in settings.warm.loaders
    waiter = (
        _Workers(namespace, keys, within_s)
        if by_workers
        else _Bots(client, namespace, keys, use.version)
    )
    with click.progressbar(length=len(keys), label=f"{namespace}") as bar:
        done = 0
        while done < len(keys) and time.monotonic() < ends_s:
            time.sleep(_LOOK_S)
            now = waiter.done()
            bar.update(now - done)
            done = now
    failed = waiter.failed
    for one in failed[:3]:
        terminal.say(f"  {one['key']}: {one['error']}", err=True)
    left = len(keys) - done
    who = "workers" if by_workers else "bots"
    terminal.say(
        f"{done - len(failed)} of {len(keys)} keys of {namespace} are warm, by its {who}"
        + (f"; {len(failed)} failed" if failed else "")
        + (f"; {left} were not ready within {within_s:g} s and follow" if left else "")
        + "."
    )
    if failed or left:
        raise SystemExit(EXIT_INCOMPLETE)


class _Workers:
    """Keys that workers load: tasks, and their results."""

    def __init__(self, namespace: str, keys: list[str], within_s: float) -> None:
        from outrider.workers.app import app

        self.failed: list[dict[str, str]] = []
        self._done = 0
        self._sent: list[tuple[Any, int]] = []
        for start in range(0, len(keys), BATCH):
            batch = [[namespace, key] for key in keys[start : start + BATCH]]
            sent = app.send_task(
                "outrider.warm.run", kwargs={"keys": batch}, expires=max(1.0, 2 * within_s)
            )
            self._sent.append((sent, len(batch)))

    def done(self) -> int:
        waiting = []
        for sent, count in self._sent:
            if not sent.ready():
                waiting.append((sent, count))
                continue
            self._done += count
            if sent.successful():
                self.failed += sent.result["failed"]
            else:
                self.failed.append({"key": sent.id, "error": str(sent.result)})
        self._sent = waiting
        return self._done


class _Bots:
    """Keys that bots load: left for them in Redis, until their values are there."""

    failed: list[dict[str, str]] = []  # noqa: RUF012 - bots log what fails

    def __init__(self, client: redis.Redis, namespace: str, keys: list[str], version: str) -> None:
        self._version = version
        self._client, self._namespace, self._keys = client, namespace, keys

    def done(self) -> int:
        from outrider.cache import keys as names
        from outrider.cache import warming

        found = warming.present(self._client, self._namespace, self._keys, version=self._version)
        missing = [key for key, there in zip(self._keys, found, strict=True) if not there]
        if missing:  # also again: a plan may have put them off
            due = names.due(self._namespace)
            self._client.zadd(due, dict.fromkeys(missing, time.time()), lt=True)
            self._client.expire(due, 3600)
        return len(found) - len(missing)
