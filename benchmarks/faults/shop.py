"""A Celery application that the stack watches; SHOP_BROKER names its Redis."""

from __future__ import annotations

import os
import time

from celery import Celery

app = Celery("shop", broker=os.environ.get("SHOP_BROKER", "redis://"))
app.conf.worker_prefetch_multiplier = 1
app.conf.task_ignore_result = True
app.conf.worker_send_task_events = True


@app.task(name="shop.order")
def order(seconds: float = 0.02) -> None:
    """Take a while, as a call to a supplier would."""
    time.sleep(seconds)
