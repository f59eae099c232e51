"""Answers that are sent piece by piece: the part that is asked for, and trouble told in time.

Knows nothing of what is sent.
"""

import re
from collections.abc import AsyncIterator
from typing import Final

from reactorcide.api.errors import range_not_satisfiable

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def bounds_of(asked: str, size: int, what: str) -> tuple[int, int] | None:
    """Return start and stop of the one range that a Range header asks for (RFC 9110).

    None when it asks for none that means anything. Raises Problem (416).
    """
    found = _RANGE.fullmatch(asked)
    if found is None or not (found[1] or found[2]):
        return None
    first, last = found[1], found[2]
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or start >= stop:
        raise range_not_satisfiable(what, size)
    return start, stop


async def primed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the same, its first piece fetched: what fails at once is an answer of its own."""
    first = await anext(pieces, None)
    return _all(first, pieces)


async def _all(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first
    async for piece in rest:
        yield piece
