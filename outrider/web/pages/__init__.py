"""The pages beside the first one: a module each, whose ``shown(source, asked)`` is plain data.

Each shows what a command prints (``outrider alerts``, ``slo``, ``db``, ``cache``, ``bots show``),
by the same functions. ``shown`` blocks, and raises BadArgument and redis.RedisError.
"""
