"""Connections to Redis or Valkey that fail fast and say why.

redis-py retries ten times by default, so that a refused connection costs 3.5 s and a frozen server
57 s. Here a call gives up after one retry and two seconds.
"""

from __future__ import annotations

import re
from typing import Any

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from outrider.errors import RedisRefused, RedisUnavailable

OLDEST_SERVER = (6, 2)  # Celery 5.7 asks for this
TIMEOUT_S = 2.0
RETRY_AFTER_S = 0.05


def connect(url: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> redis.Redis:
    """Return a client; nothing is sent until its first command."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(ConstantBackoff(RETRY_AFTER_S), 1),
        health_check_interval=30,
        **options,
    )


def check(url: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Return a word on the server at ``url``, such as ``Valkey 9.1.2``.

    Raises:
        RedisUnavailable: nothing answers there.
        RedisRefused: it refuses us, or is too old.
    """
    shown = without_password(url)
    try:
        with connect(url, timeout_s=timeout_s) as client:
            info: Any = client.info("server")
    except redis.AuthenticationError as error:
        raise RedisRefused(
            f"Redis at {shown} refuses the password ({error}); "
            "put it into the address: redis://:PASSWORD@host:port/0."
        ) from None
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise RedisUnavailable(
            f"Redis at {shown} does not answer ({error}); start it, "
            "or unset OUTRIDER_REDIS_URL to use the embedded server."
        ) from None
    except redis.ResponseError as error:
        remedy = "give the user the permissions of docs/how-to/redis.md."
        raise RedisRefused(f"Redis at {shown} refuses us ({error}); {remedy}") from None
    except redis.RedisError as error:
        raise RedisRefused(
            f"what answers at {shown} is no Redis ({error}); correct the address."
        ) from None
    except ValueError:  # its text may show parts of the password
        raise RedisRefused(
            f"{shown!r} is no Redis address; write it like redis://:PASSWORD@host:6379/0, "
            "other signs than letters and digits in the password as %XX."
        ) from None
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        raise RedisRefused(
            f"Redis at {shown} is version {version}; 6.2 or later is needed: upgrade it, "
            "or unset OUTRIDER_REDIS_URL to use the embedded server."
        )
    return f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"


def without_password(url: str) -> str:
    """Return an address that may be shown.

    >>> without_password("redis://:secret@127.0.0.1:6379/0")
    'redis://***@127.0.0.1:6379/0'
    """
    shown = re.sub(r"(?<=://).*@", "***@", url, flags=re.DOTALL)
    return re.sub(r"(?<=[?&]password=)[^&#]*", "***", shown)
