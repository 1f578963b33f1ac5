"""What changed from one frame to the next, so that only that is sent.

A patch is a list whose first number says what it is::

    [0, value]               the value, whole
    [1, {name: patch}]       an object: these of its fields changed, all others stayed
    [2, {place: patch}]      a list: these of its items changed
    [3, gone, [more]]        a list of numbers that moved on: ``gone`` fell off its front, and its
                             end is now ``more``; it is as long as before

``static/delta.js`` applies it. It knows nothing of frames, so a new field needs nothing here.
"""

from __future__ import annotations

from typing import Any

Patch = list[Any]
# A series moves on by a tick or two; its newest readings may have come late.
_GONE = (0, 1, 2)
_MORE = (1, 2, 4)


def between(before: Any, after: Any) -> Patch | None:
    """Return the patch that makes ``after`` of ``before``; None when they are the same.

    >>> between({"a": 1, "b": [1, 2, 3]}, {"a": 1, "b": [2, 3, 4]})
    [1, {'b': [3, 1, [4]]}]
    """
    if before == after and type(before) is type(after):
        return None
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [1, _of((name, before[name], after[name]) for name in after)]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after) > 0:
        if all(isinstance(each, dict) for each in (before[0], after[0])):
            pairs = zip(map(str, range(len(after))), before, after, strict=True)
            return [2, _of(pairs)]
        return _moved(before, after) or [0, after]
    return [0, after]


def _of(fields: Any) -> dict[str, Patch]:
    return {name: patch for name, was, now in fields if (patch := between(was, now)) is not None}


def _moved(before: list[Any], after: list[Any]) -> Patch | None:
    for more in _MORE:
        for gone in _GONE:
            stays = len(after) - more
            if stays > 0 and before[gone : gone + stays] == after[:stays]:
                return [3, gone, after[stays:]]
    return None
