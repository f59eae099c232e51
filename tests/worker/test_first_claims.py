"""A worker that was just woken claims what comes first in one statement, and nothing it may not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import (
    ClaimJob,
    Completed,
    FinishAttempt,
    Released,
    Status,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.lane import Lane
from reactorcide.eventstore.record import Context
from reactorcide.projections.projection import named
from reactorcide.projections.verify import verify
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    claimed,
    claimed_all,
    settings_for,
)
from reactorcide.worker.direct import open_coordinator
from reactorcide.worker.first_claims import FirstClaims
from reactorcide.worker.holdings import Holdings

MOST: Final = 8
COMMAND: Final = ClaimJob(new_id(), 15, datetime.now(UTC))


@asynccontextmanager
async def claims_among_others(
    database: Database, folder: Path
) -> AsyncIterator[Callable[[int], Awaitable[tuple[list[UUID], bool]]]]:
    """Lend what claims as a worker of handlers does that has met another one."""
    lane, settings = Lane(database), settings_for(folder, handlers=("some.module",))
    claims = FirstClaims(lane, Context(actor_type="worker", actor_id=new_id()), settings, COMMAND)
    claims.meet()

    async def claim(slots: int) -> tuple[list[UUID], bool]:
        found = await claims.claim(slots)
        assert found is not None
        return [one.job_id for one in found.found], found.has_more

    yield claim
    await lane.close()


async def test_the_best_comes_first_and_is_claimed_by_one_statement(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """By priority, then by age; the log and the table say the same."""
    usual = [await desk.submit(f"echo {n}") for n in range(3)]
    urgent = await desk.submit(priority=5)
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        assert await claimed(worker) == ([urgent, *usual], True)
        job = await desk.job(usual[1])
        assert job.submitted.job_command == "echo 1"
        assert (job.state.status, job.state.attempt) == (Status.CLAIMED, 1)
        assert job.state.worker_id == worker.worker_id
        assert await desk.names(urgent) == ["submitted", "claimed"]
        lease = "SELECT count(*) FROM jobs_held WHERE lease_until > now() + interval '5 seconds'"
        assert await desk.pool.fetchval(lease) == 4
        assert await claimed(worker) == ([], False)
    verified = await verify(database, named("jobs"), lambda _done, _total: None)
    assert verified.differences == ()


@pytest.mark.parametrize("queues", [("default",), ("default", "another")])
async def test_no_more_than_a_few_commands_at_a_time(
    database: Database, desk: Desk, tmp_path: Path, queues: tuple[str, ...]
) -> None:
    """And it is told that there may be more."""
    ids = [await desk.submit() for _ in range(MOST + 2)]
    settings = settings_for(tmp_path, queues=queues)
    async with open_coordinator(settings, database, SEALER) as worker:
        assert await claimed(worker, 100) == (ids[:MOST], True)
        assert await claimed(worker, 100) == (ids[MOST:], False)


async def test_it_goes_on_from_where_it_was_and_misses_nothing(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """By priority, then by age; what came in ahead meanwhile is found when the end is reached."""
    low = [await desk.call("test.nothing", priority=1) for _ in range(3)]
    high = [await desk.call("test.nothing", priority=2) for _ in range(4)]
    async with claims_among_others(database, tmp_path) as claim:
        assert await claim(2) == (high[:2], True)
        urgent = await desk.call("test.nothing", priority=9)
        assert await claim(3) == ([*high[2:], low[0]], True)
        assert await claim(4) == (low[1:], True)
        assert await claim(4) == ([urgent], False)


async def test_workers_that_met_claim_without_a_look(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """What they are after is passed over from then on, and each job is claimed once."""
    ids = [await desk.call("test.nothing") for _ in range(60)]
    settings = settings_for(tmp_path, handlers=("some.module",))
    async with (
        open_coordinator(settings, database, SEALER) as one,
        open_coordinator(settings, database, SEALER) as two,
    ):
        seen: list[UUID] = []
        for worker in (one, two) * 30:  # who reads ahead finds it taken by the other
            seen += [attempt.key.job_id for attempt in (await worker.claim(4)).attempts]
        assert sorted(seen) == ids
        assert await claimed(one) == ([], False)


async def test_commands_are_looked_for_before_they_are_claimed(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """So that these are started by the statement that claims them."""
    await desk.submit()
    lane = Lane(database)
    settings = settings_for(tmp_path, handlers=("some.module",))
    claims = FirstClaims(lane, Context(), settings, COMMAND)
    assert not claims.is_usual
    claims.meet()
    assert claims.is_usual
    await claims.claim(1)
    assert not claims.is_usual
    await lane.close()


async def test_what_has_run_before_is_left_to_who_looks(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Its attempt is not the first: the same call claims it all the same when nothing else is."""
    again = await desk.submit()
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        (first,) = (await worker.claim(4)).attempts
        assert first.key.job_id == again
        await worker.finish(first.key, Released("not now"))
        fresh = await desk.submit()
        assert await claimed(worker) == ([fresh], True)
        assert await claimed(worker) == ([again], False)
        assert (await desk.job(again)).state.attempt == 2


async def test_a_retry_that_is_due_is_not_forgotten(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It is left to who looks, and whoever is woken by other jobs again and again is told to."""
    retry = await desk.submit(max_attempts=2)
    await desk.pool.execute(
        "UPDATE jobs SET available_at = now() - interval '1 s' WHERE job_id = $1", retry
    )
    fresh = await desk.submit()
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        assert await claimed(worker) == ([fresh], True)
        assert await claimed(worker) == ([retry], False)


async def test_labels_queues_and_times_are_kept(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """What this worker may not claim stays, and so does what is not due."""
    await desk.submit(labels={"gpu": "yes"})
    await desk.submit(queue_name="another")
    later = await desk.submit(max_attempts=2)
    await desk.pool.execute(
        "UPDATE jobs SET available_at = now() + interval '1 hour' WHERE job_id = $1", later
    )
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        assert await claimed(worker) == ([], False)


async def test_what_somebody_else_is_taking_is_not_waited_for(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """A row that is locked is passed over."""
    taken, left = await desk.submit(), await desk.submit()
    async with (
        open_coordinator(settings_for(tmp_path), database, SEALER) as worker,
        desk.pool.acquire() as other,
        other.transaction(),
    ):
        await other.execute("SELECT FROM jobs_ready WHERE job_id = $1 FOR UPDATE", taken)
        async with asyncio.timeout(10):
            assert (await claimed(worker))[0] == [left]


@pytest.mark.parametrize("slots", [1, 3])
async def test_woken_workers_claim_each_job_once(
    database: Database, desk: Desk, tmp_path: Path, slots: int
) -> None:
    """However many were woken by one ring."""
    ids = [await desk.submit() for _ in range(20)]
    seen: list[UUID] = []

    async with (
        open_coordinator(settings_for(tmp_path), database, SEALER) as one,
        open_coordinator(settings_for(tmp_path), database, SEALER) as two,
        open_coordinator(settings_for(tmp_path), database, SEALER) as three,
    ):
        await asyncio.gather(*(claimed_all(each, slots, seen) for each in (one, two, three)))
        await claimed_all(one, slots, seen)
    assert sorted(seen) == sorted(ids)


async def test_the_ends_of_handlers_claimed_so_go_together(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """What was claimed first stands by what it was asked for; a command has to run before."""
    handler, command = await desk.call("test.nothing"), await desk.submit("true")
    lane, context = Lane(database), Context(actor_type="worker", actor_id=new_id())
    holdings = Holdings(desk.write, context, lambda _: None)
    claims = FirstClaims(lane, context, settings_for(tmp_path), COMMAND)
    claim = await claims.claim(2)
    await lane.close()
    assert claim is not None
    keys = [one.key for one in holdings.take(claim)]
    assert [key.job_id for key in keys] == [handler, command]
    end = FinishAttempt(1, Completed(None, None), datetime.now(UTC), 0.0)
    assert await holdings.complete([handler, command], end) == {handler}
    assert await desk.names(handler) == ["submitted", "claimed", "completed"]


async def test_the_log_has_the_last_word(database: Database, desk: Desk, tmp_path: Path) -> None:
    """A row that is behind the log gets nobody anything, and nothing is written."""
    job_id = await desk.submit()
    await desk.cancel(job_id)
    row = "UPDATE jobs SET status = 'queued', version = 1 WHERE job_id = $1"
    await desk.pool.execute(row, job_id)
    lane, context = Lane(database), Context(actor_type="worker", actor_id=new_id())
    claims = FirstClaims(lane, context, settings_for(tmp_path), COMMAND)
    claim = await claims.claim(1)
    await lane.close()
    assert claim is None
    assert await desk.names(job_id) == ["submitted", "cancelled"]
    assert await desk.pool.fetchval("SELECT count(*) FROM jobs_ready") == 1
