"""redis-py: commands and pipelines of a client, sync or asyncio, cluster clients included.

``redis.COMMAND`` is how long a command took, retries and waiting for a connection included; one
that blocks (BLPOP) takes as long as it waits. ``redis.pipeline`` is how long a pipeline took,
``redis.pipeline.commands`` counts what was in them. ``.errors`` and ``redis.errors.TYPE`` count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.sdk.integrations.meter import Names, derived, watched, watched_async

if TYPE_CHECKING:
    from outrider.sdk.integrations.meter import Meter

MOST_COMMANDS = 40
MOST_ERRORS = 20


def attach(client: Any, meter: Meter) -> None:
    """Measure a client. Its pub/sub objects hold connections of their own and are left alone."""
    watch = watched_async if hasattr(client, "aclose") else watched
    names = Names("redis", most=MOST_COMMANDS)
    errors = Names("redis.errors", most=MOST_ERRORS, ending=0)

    def on_command(
        args: Any, _kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        command = args[0]
        text = command if isinstance(command, str) else bytes(command).decode("ascii", "replace")
        meter.ended(names(text.lower()), start, error, errors)

    def on_pipeline(
        _args: Any, _kwargs: Any, start: float, error: BaseException | None, _result: Any
    ) -> None:
        meter.ended("redis.pipeline", start, error, errors)

    look_at_pipeline = meter.guard(on_pipeline)

    kinds: dict[type[Any], type[Any]] = {}

    def measuring(kind: Any) -> type[Any]:
        run = watch(kind.execute, look_at_pipeline)

        def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
            count(self)
            return run(self, *args, **kwargs)

        return derived(kind, execute=execute)

    def size(pipeline: Any) -> None:
        meter.count("redis.pipeline.commands", len(pipeline))

    def measure(pipeline: Any) -> None:
        kind = type(pipeline)
        if kind not in kinds:
            kinds[kind] = measuring(kind)
        pipeline.__class__ = kinds[kind]

    count, measure_safely, make = meter.guard(size), meter.guard(measure), client.pipeline

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        measure_safely(made)
        return made

    client.execute_command = watch(client.execute_command, meter.guard(on_command))
    client.pipeline = pipeline
