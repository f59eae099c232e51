"""Fold the log in several programs at once, a slice of the streams in each.

Folding is Python and takes one core, so a long log is cut by stream id, and each slice is
folded and copied by a program of its own, in the snapshot that the rebuild exported. Such a
program gets its order as one line on stdin, says on stdout how many events it has folded, and
dies with whoever started it. A slice goes in whole or not at all.
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import uvloop

from reactorcide.eventstore.database import Connection, Database
from reactorcide.projections import table
from reactorcide.projections.projection import Projection, named
from reactorcide.projections.replay import EVERYTHING, Slice, replay, uncollected

# What splits the streams into parts of about the same size, by a sample of the log's pages.
_CUTS: Final = """
SELECT percentile_disc($2::float8[]) WITHIN GROUP (ORDER BY stream_id)
FROM events TABLESAMPLE SYSTEM ($3) WHERE stream_type = $1"""
# The snapshot's name has to stand in the statement itself.
_IMPORT: Final = "SELECT format('SET TRANSACTION SNAPSHOT %L', $1::text)"
_PROGRAM: Final = """
import json, sys
order = json.loads(sys.stdin.readline())
sys.path[:] = order.pop("path")
from reactorcide.projections.slices import main
main(**order)"""
_HEAD_START: Final = 30_000
_SAMPLED: Final = 20_000
_FOLDED: Final = b"whole"


async def cut(
    connection: Connection, projection: Projection, parts: int, events: int
) -> list[Slice]:
    """Return slices that together hold every stream once; `events` is about how many there are.

    The first is larger by what is folded while the programs of the others start.
    """
    ahead = min(_HEAD_START / max(events, 1), 1 / parts)
    fractions = [ahead + (1 - ahead) * part / parts for part in range(1, parts)]
    percent = min(100.0, 100.0 * _SAMPLED / max(events, 1))
    found = await connection.fetchval(_CUTS, projection.stream_type, fractions, percent)
    cuts: list[UUID] = found or []
    ends = sorted({cut.int for cut in cuts})
    bounds = [EVERYTHING.first.int - 1, *ends, EVERYTHING.last.int]
    return [Slice(UUID(int=low + 1), UUID(int=high)) for low, high in pairwise(bounds)]


@asynccontextmanager
async def folded_apart(
    database: Database,
    order: dict[str, str],
    slices: Sequence[Slice],
    folded: Callable[[int], None],
) -> AsyncIterator[Awaitable[list[Slice]]]:
    """Fold each slice in a program of its own while the block runs.

    What is lent tells, when awaited, which slices did not go in. `order` names the projection,
    the table and the snapshot, as `main` takes them. `folded` is told of so many more events.
    Whoever leaves early takes the programs with it.
    """
    programs = [await _start(database, order, one) for one in slices]
    following = asyncio.gather(*[_follow(program, folded) for program in programs])

    async def left() -> list[Slice]:
        return [one for one, went_in in zip(slices, await following, strict=True) if not went_in]

    try:
        yield asyncio.ensure_future(left())
    finally:
        for program in programs:
            if program.returncode is None:
                program.kill()
        await asyncio.gather(*[program.wait() for program in programs])


async def _start(database: Database, order: dict[str, str], one: Slice) -> Process:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert program.stdin is not None  # noqa: S101  it is a pipe
    place = {"uri": database.uri, "path": sys.path, "first": str(one.first), "last": str(one.last)}
    program.stdin.write(json.dumps(order | place).encode() + b"\n")
    return program


async def _follow(program: Process, folded: Callable[[int], None]) -> bool:
    """Pass on what a program says, to its end; tell whether its slice went in."""
    assert program.stdout is not None  # noqa: S101  it is a pipe
    async for line in program.stdout:
        if line.strip() == _FOLDED:
            return True
        folded(int(line))
    return False


def main(**order: Any) -> None:  # noqa: ANN401  from JSON
    """Fold one slice; the order is what `_start` wrote."""
    with uncollected():
        uvloop.run(_fold(**order))
    _say(_FOLDED.decode())


def _say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def _fold(  # noqa: PLR0913  the fields of an order
    *, uri: str, projection: str, beside: str, snapshot: str, first: str, last: str
) -> None:
    database, fold, one = Database(uri), named(projection), Slice(UUID(first), UUID(last))
    reader = await database.connect(role=False, jit="off", timezone="UTC")
    writer = await database.connect(role=False, jit="off", timezone="UTC")
    importing = await reader.fetchval(_IMPORT, snapshot)
    async with reader.transaction(isolation="repeatable_read", readonly=True):
        await reader.execute(importing)
        await table.copy(writer, fold, beside, replay(reader, fold, one, _say))
    await reader.close()
    await writer.close()
