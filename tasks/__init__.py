"""What is done: Celery tasks, thin adaptors to the engine."""
