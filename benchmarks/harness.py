"""What all measurements share: a server of their own, fair rounds, one JSON line.

A measurement runs its own path and its floor in turn, on the same server, in the same run:
the ratio of each pair is what counts, since a machine's speed drifts. It never quotes a number
that was measured elsewhere.
"""

import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from reactorcide.benchmarks.ending import run_to_end, running
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.eventstore import store
from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.migrations.runner import migrate_up

Rate: TypeAlias = Callable[[], Awaitable[float]]
"""One round: returns what it measured (a rate per second, or milliseconds)."""

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))

_STREAMS_EACH: Final = 1000


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians over the rounds; `ratio` is the median of ours / floor, round by round."""

    ours: float
    floor: float
    ratio: float


async def interleave(ours: Rate, floor: Rate, rounds: int = ROUNDS) -> Pair:
    """Measure both in turn, after one round of each that does not count."""
    await ours()
    await floor()
    pairs = [(await ours(), await floor()) for _ in range(rounds)]
    return Pair(
        ours=statistics.median(a for a, _ in pairs),
        floor=statistics.median(b for _, b in pairs),
        ratio=statistics.median(a / b for a, b in pairs),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of a hundred do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Give the URI of a fresh, migrated database on a server that ends with the measurement.

    `BENCH_DB_URI` names a server to use instead; a database of it is made and dropped.
    """
    given = os.environ.get("BENCH_DB_URI")
    if given:
        async with scratch_database(given) as uri:
            yield uri
        return
    with tempfile.TemporaryDirectory(prefix="rc-bench-") as directory:
        async with (
            running(EmbeddedPostgres(Path(directory))) as base,
            scratch_database(base) as uri,
        ):
            yield uri


@asynccontextmanager
async def scratch_database(base: str, suffix: str = "") -> AsyncIterator[str]:
    """Lend a migrated database on the server of `base`, and drop it."""
    admin = await asyncpg.connect(base)
    name = f"bench_{os.getpid()}{suffix}"
    uri = with_database(base, name)
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
        await asyncio.to_thread(migrate_up, uri)
        yield uri
    finally:
        await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await admin.close()


def with_database(uri: str, name: str) -> str:
    """Return `uri` with another database's name; its host and query stay."""
    head, _, query = uri.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}{'?' + query if query else ''}"


def report(measure: str, **fields: Any) -> None:  # noqa: ANN401 -- JSON by nature
    """Print the measurement's one line."""
    print(json.dumps({"measure": measure, **fields}), flush=True)  # noqa: T201 -- its output


def rounded(pair: Pair, **case: Any) -> dict[str, Any]:  # noqa: ANN401 -- JSON by nature
    """Give a case and its figures as the fields of a JSON line."""
    digits = 0 if pair.ours > 100 else 2  # noqa: PLR2004 -- rates are whole, times are not
    return {
        **case,
        "ours": round(pair.ours, digits),
        "floor": round(pair.floor, digits),
        "ratio": round(pair.ratio, 2),
    }


def run(measure: Callable[[str], Awaitable[None]]) -> None:
    """Run a measurement on a server of its own, which ends with it, also by a signal."""

    async def with_server() -> None:
        async with server() as uri:
            await measure(uri)

    run_to_end(with_server())


async def streams_of(
    connection: Reader, stream_ids: Sequence[UUID]
) -> dict[UUID, list[RecordedEvent]]:
    """Return the events of many streams; one that is not there is empty."""
    found: dict[UUID, list[RecordedEvent]] = {one: [] for one in stream_ids}
    for first in range(0, len(stream_ids), _STREAMS_EACH):
        found |= await store.read_streams(connection, stream_ids[first : first + _STREAMS_EACH])
    return found
