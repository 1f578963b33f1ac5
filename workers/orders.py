"""Orders from the dashboard to supervisors: this host's by its socket, another's by its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from outrider import errors
from outrider.supervisor import control

if TYPE_CHECKING:
    from outrider.settings import Settings

# Somebody waits before a page. What no worker took by then is not carried out later either.
WITHIN_S = 20.0
_REFUSALS = {kind.__name__: kind for kind in (errors.BadArgument, errors.UnknownBot)}


class NotTaken(errors.OutriderError):
    """No worker of that host answered in time."""

    permanent = False
    retry_after_s = WITHIN_S


class Given:
    """Gives orders for a stack with these settings (see ``outrider.web.actions.Orders``)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, what: str, *, host: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the processes concerned. Blocks.

        Raises:
            NotTaken: no worker of the host is at work.
            UnknownBot, BadArgument, OutriderError: what the supervisor says.
        """
        run_dir = self._settings.run_dir()
        if host == self._settings.host and control.answers(run_dir):
            found = control.ask(run_dir, what, timeout_s=WITHIN_S, **fields)
            return cast("list[dict[str, Any]]", found)
        return _by_worker(what, {**fields, "host": host})


def _by_worker(what: str, fields: dict[str, Any]) -> list[dict[str, Any]]:
    # Celery takes 15 MiB, and a page that only shows needs none of it.
    from celery.exceptions import TimeoutError as TooLate

    from outrider.workers.app import app

    sent = app.send_task(f"outrider.supervise.{what}", kwargs=fields, expires=WITHIN_S)
    try:
        done = sent.get(timeout=WITHIN_S)
    except TooLate:
        raise NotTaken(
            f"no worker of {fields['host']} answered within {WITHIN_S:.0f} s, and none will take "
            "it later; `outrider status` tells whether that host is up."
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever the task raised, as ours
        kind = _REFUSALS.get(type(error).__name__, errors.OutriderError)
        raise kind(str(error)) from None
    return cast("list[dict[str, Any]]", done["bots"])
