"""What a job costs, in things that can be counted: a change that costs more must say so here.

Time depends on the machine; transactions, rows and bytes of WAL do not. Measured on a server of
its own, where nobody else writes: the difference between many jobs and few.
"""

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import pytest

from reactorcide.api.direct import Submitter
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Completed
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.ids import new_id
from reactorcide.migrations.runner import migrate_up
from reactorcide.projections import job_rows
from reactorcide.tests.support.server import roomy_root
from reactorcide.worker.coordinator import Report
from reactorcide.worker.direct import DirectCoordinator, Doors
from reactorcide.worker.settings import WorkerSettings

BATCH: Final = 250
FEW: Final = 2 * BATCH
MANY: Final = 10 * BATCH

SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1d",
}
SEEN: Final = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal_bytes, xact_commit AS transactions,
    (SELECT sum(n_tup_ins) FROM pg_stat_user_tables) AS inserted,
    (SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables) AS dead
FROM pg_stat_database WHERE datname = current_database()"""


class Cost(NamedTuple):
    """Of one job; transactions of a batch of 250."""

    wal_bytes: float
    transactions: float
    """A statement outside of a transaction is one, and one round trip."""
    inserted: float
    dead: float


@pytest.fixture
def server_uri() -> Iterator[str]:
    """Lend a server that does nothing but what it is told."""
    with tempfile.TemporaryDirectory(prefix="reactorcide-costs-", dir=roomy_root()) as folder:
        postgres = EmbeddedPostgres(Path(folder), settings=SETTINGS)
        uri = postgres.start()
        try:
            migrate_up(uri)
            yield uri
        finally:
            postgres.stop()


async def submit(uri: str, count: int) -> None:
    """Submit so many jobs through the library."""
    async with Submitter(uri, new_id()) as submitter:
        await submitter.submit_many([{"name": "noop", "handler": "noop"}] * count)


async def drain(uri: str, count: int) -> None:
    """Claim and complete so many jobs, as a worker does, without what it does by the clock."""
    database = Database(uri)
    async with AsyncExitStack() as stack:
        pool = await database.create_pool(1, 2)
        stack.push_async_callback(pool.close)
        write = await stack.enter_async_context(
            Appender(database, job_rows.rows, 2, job_rows.kind_of)
        )
        doorbell = Doorbell(database, ("jobs", "control"))  # rings go out by the clock: not here
        work = stack.enter_context(doorbell.listen("jobs"))
        control = stack.enter_context(doorbell.listen("control"))
        doors = Doors(database, pool, write, doorbell, work, control)
        settings = WorkerSettings("worker", Path("/nonexistent"))
        coordinator = DirectCoordinator(settings, doors, None, new_id())
        stack.push_async_callback(coordinator.close)
        done = 0
        while done < count:
            claim = await coordinator.claim(BATCH)
            reports = [Report(one.key, Completed(None, None)) for one in claim.attempts]
            assert await coordinator.finish_all(reports) == {}
            done += len(reports)


async def seen(uri: str) -> asyncpg.Record:
    """Return the counters; every session that worked has ended, and told the server what it did."""
    connection = await asyncpg.connect(uri)
    try:
        row = await connection.fetchrow(SEEN)
        assert row is not None
        return row
    finally:
        await connection.close()


async def cost_of(uri: str, work: Callable[[str, int], Awaitable[None]]) -> Cost:
    """Return what each further job costs."""
    spent = []
    for count in (FEW, MANY):
        before = await seen(uri)
        await work(uri, count)
        after = await seen(uri)
        spent.append([float(b - a) for a, b in zip(before, after, strict=True)])
    more = [many - few for few, many in zip(*spent, strict=True)]
    number = MANY - FEW
    return Cost(more[0] / number, more[1] / number * BATCH, more[2] / number, more[3] / number)


@pytest.mark.slow
async def test_a_job_costs_no_more_than_it_did(server_uri: str) -> None:
    """Submit: one statement for a chunk. Claim: a look and a statement. Completion: a statement."""
    submitted = await cost_of(server_uri, submit)
    drained = await cost_of(server_uri, drain)
    # An event and a row; a note of the counts, and a ring, for each statement of 500.
    assert submitted.transactions <= 1.3
    assert submitted.inserted <= 2.01
    assert submitted.dead == 0
    assert submitted.wal_bytes <= WAL_OF_A_SUBMIT
    # Two events and two rows; the row left two partitions.
    # A look ahead that was made 0.1 s too early is made again.
    assert drained.transactions <= 4.1
    assert drained.inserted <= 4.05
    assert drained.dead <= 2.05
    assert drained.wal_bytes <= WAL_OF_A_DRAIN


WAL_OF_A_SUBMIT: Final = 975
WAL_OF_A_DRAIN: Final = 1750
