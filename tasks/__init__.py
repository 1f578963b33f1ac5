"""What is done: Celery tasks, thin adaptors to the engine.

Importing the package registers all of them, so that ``include=["outrider.tasks"]`` is enough.
"""

from outrider.tasks import (
    alert,
    analyse,
    autoscale,
    collect,
    maintain,
    supervise,
    tune,
    validate,
    warm,
)

__all__ = [
    "alert",
    "analyse",
    "autoscale",
    "collect",
    "maintain",
    "supervise",
    "tune",
    "validate",
    "warm",
]
