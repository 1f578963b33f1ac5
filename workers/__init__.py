"""Where it runs: the Celery app, its workers and the local stack."""
