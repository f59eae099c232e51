"""Fold the log in several programs at once, slice after slice of the streams.

Folding is Python and takes one core, so a long log is cut by stream id. Each program takes the
next slice that nobody has, folds it in a snapshot, and commits its rows with the note that it is
there (see `rebuilds`): a slice goes in whole or not at all, whoever dies. A program gets its
order as one line on stdin, says on stdout how many events it has folded, and dies with whoever
started it.
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import uvloop

from reactorcide.eventstore.database import Connection, Database
from reactorcide.projections import rebuilds, table
from reactorcide.projections.projection import Projection, named
from reactorcide.projections.rebuilds import EVERYTHING, Slice
from reactorcide.projections.replay import Tally, replay, uncollected
from reactorcide.projections.throttle import Brake, Throttle

# How much of the log to look at: all of it when that is so many pages or fewer.
_PERCENT: Final = """
SELECT least(100, 100 * $1 * current_setting('block_size')::float8
    / greatest(pg_relation_size('events'), 1))"""
# About how many events there are, and what splits their streams into parts of about the same size.
_COUNT: Final = """
SELECT count(*) FROM events TABLESAMPLE SYSTEM ($2) REPEATABLE (0) WHERE stream_type = $1"""
_CUTS: Final = """
SELECT percentile_disc($2::float8[]) WITHIN GROUP (ORDER BY stream_id)
FROM events TABLESAMPLE SYSTEM ($3) REPEATABLE (0) WHERE stream_type = $1"""
_PROGRAM: Final = """
import json, sys
order = json.loads(sys.stdin.readline())
sys.path[:] = order.pop("path")
from reactorcide.projections.slices import main
main(**order)"""
_MOST_SLICES: Final = 1000
_SLICES_A_PROGRAM: Final = 4
"""At least: so that those that began late, or have more to do, end with the others."""
_SAMPLED_PAGES: Final = 1500
# Streams in the order of their ids are in the order of an index.


async def cut(connection: Connection, projection: Projection, events_each: int) -> list[Slice]:
    """Return slices that together hold every stream once."""
    percent = await connection.fetchval(_PERCENT, _SAMPLED_PAGES)
    sampled = await connection.fetchval(_COUNT, projection.stream_type, percent)
    each = max(events_each // _SLICES_A_PROGRAM, 1)
    parts = max(1, min(int(sampled * 100 / percent) // each, _MOST_SLICES))
    fractions = [part / parts for part in range(1, parts)]
    found = await connection.fetchval(_CUTS, projection.stream_type, fractions, percent)
    cuts: list[UUID] = found or []
    ends = sorted({cut.int for cut in cuts} - {EVERYTHING.last.int})
    bounds = [EVERYTHING.first.int - 1, *ends, EVERYTHING.last.int]
    return [Slice(UUID(int=low + 1), UUID(int=high)) for low, high in pairwise(bounds)]


async def fold(
    database: Database,
    projection: Projection,
    settled: int,
    folded: Callable[[int], Awaitable[None]],
    *,
    waits: bool = False,
) -> None:
    """Fold one slice after the other, until there is none that nobody has.

    All events up to `settled` can be seen. `waits` for those that others have, until all are in.
    """
    reader = await _connected(database)
    writer = await _connected(database)
    try:
        with uncollected():
            while await _fold_next(reader, writer, projection, settled, folded, waits=waits):
                pass
    finally:
        reader.terminate()
        writer.terminate()


async def _connected(database: Database) -> Connection:
    return await database.connect(role=False, jit="off", timezone="UTC", enable_seqscan="off")


async def _fold_next(  # noqa: PLR0913  from where to where, what, and how
    reader: Connection,
    writer: Connection,
    projection: Projection,
    settled: int,
    folded: Callable[[int], Awaitable[None]],
    *,
    waits: bool,
) -> bool:
    """Fold a slice; say whether there may be another."""
    name = projection.name
    async with writer.transaction():
        part = await rebuilds.next_slice(writer, name, waits=waits)
        if part is None:
            return waits and (await rebuilds.left(writer, name))[1] > 0
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            rows = replay(reader, projection, part, folded)
            await table.copy(writer, projection, table.beside(projection), rows)
        await rebuilds.reach(writer, name, part, settled)
    return True


@asynccontextmanager
async def folded_apart(
    database: Database, order: dict[str, Any], programs: int, tally: Tally
) -> AsyncIterator[Awaitable[Any]]:
    """Fold in so many programs while the block runs; what is lent ends when they have.

    `order` names projection, settled and throttle, as `fold` takes them. Whoever leaves early
    takes the programs with it.
    """
    started = [await _start(database, order) for _ in range(programs)]
    following = asyncio.gather(*[_follow(program, tally) for program in started])
    try:
        yield following
    finally:
        for program in started:
            if program.returncode is None:
                program.kill()
        await asyncio.gather(following, return_exceptions=True)
        await asyncio.gather(*[program.wait() for program in started])


async def _start(database: Database, order: dict[str, Any]) -> Process:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert program.stdin is not None  # noqa: S101  it is a pipe
    whole = {**order, "throttle": asdict(order["throttle"]), "uri": database.uri, "path": sys.path}
    program.stdin.write(json.dumps(whole).encode() + b"\n")
    return program


async def _follow(program: Process, tally: Tally) -> None:
    """Pass on what a program says, to its end."""
    assert program.stdout is not None  # noqa: S101  it is a pipe
    async for line in program.stdout:
        tally.note(int(line))


def main(*, uri: str, projection: str, settled: int, throttle: dict[str, float | None]) -> None:
    """Fold slices; the order is what `_start` wrote."""
    brake = Brake(Throttle(**throttle))

    async def folded(events: int) -> None:
        sys.stdout.write(f"{events}\n")
        sys.stdout.flush()
        await brake.rest(events)

    uvloop.run(fold(Database(uri), named(projection), settled, folded))
