"""The Celery application: ``celery -A outrider.workers.app worker`` runs it by itself.

Its settings are read when first needed, so that importing it costs and requires nothing.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from outrider import settings as settings_module
from outrider.store import address
from outrider.workers import config, logs

app = Celery("outrider")


def _configuration() -> dict[str, Any]:
    settings = settings_module.load()
    return config.celery_config(settings, address.redis_url(settings))


app.add_defaults(_configuration)
logs.install()
# By name: beat and Flower use this application too, and need none of a worker's parts.
app.steps["consumer"].update(
    ("outrider.workers.lifecycle:VisibilityStep", "outrider.workers.lifecycle:DeadlineStep")
)
app.steps["worker"].add("outrider.workers.celery_observer:CeleryStep")
