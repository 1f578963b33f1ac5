"""Passwords, as argon2id hashes. The library is loaded when the first password is met.

The parameters are RFC 9106's second recommendation (64 MiB, 3 passes, 4 lanes), which is the
library's default: 30 to 60 ms a look. That is also what a stranger can make us spend, so ``people``
looks at one password at a time, and the rate limit comes before it.
"""

from __future__ import annotations

from outrider.errors import BadArgument

SHORTEST = 10
# Beyond this nobody types; a megabyte would only be hashed at our cost.
LONGEST = 256


def hashed(password: str) -> str:
    """Return the hash of a new password, salted. Takes some 50 ms and 64 MiB.

    Raises:
        BadArgument: it is too short to be safe, or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadArgument(
            f"The password has {len(password)} characters; take {SHORTEST} to {LONGEST}, "
            "such as four words."
        )
    import argon2

    return argon2.PasswordHasher().hash(password)


def fits(password: str, password_hash: str | None) -> bool:
    """Tell whether a password belongs to a hash; without one it takes as long and is False.

    A name that nobody has must not be told by a quicker answer.
    """
    import argon2
    from argon2.exceptions import Argon2Error, InvalidHashError

    hasher = argon2.PasswordHasher()
    if len(password) > LONGEST:
        return False
    try:
        return hasher.verify(password_hash or _nobodys(), password) and password_hash is not None
    except (Argon2Error, InvalidHashError):
        return False


_made: list[str] = []


def _nobodys() -> str:
    """Return a hash that stands in for a missing one; made once, of what nobody knows."""
    if not _made:
        import secrets

        _made.append(hashed(secrets.token_urlsafe(32)))
    return _made[0]
