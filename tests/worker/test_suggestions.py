"""What the table suggests to a busy worker: nothing is skipped for good, nothing comes twice."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Completed, Released
from reactorcide.projections import job_suggestions
from reactorcide.projections.job_suggestions import Share
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, call_of, settings_for
from reactorcide.worker.coordinator import AttemptKey, ClaimedAttempt, Report
from reactorcide.worker.direct import DirectCoordinator, open_coordinator

NOTHING: Final = Completed(None, None)
SLOTS: Final = 20
SOON: Final = 10.0
"""In seconds: where a look takes long, others being at work, the top is looked at less often."""


async def filled(desk: Desk, count: int) -> list[UUID]:
    """Submit so many jobs."""
    ids = []
    for _ in range(count // 500):
        ids += await desk.submit_many([call_of("test.nothing")] * 500, rings=False)
    return ids


async def finish(worker: DirectCoordinator, attempts: Sequence[ClaimedAttempt]) -> None:
    """Let them complete."""
    if attempts:
        await worker.finish_all([Report(one.key, NOTHING) for one in attempts])


async def seconds_until_claimed(worker: DirectCoordinator, wanted: UUID) -> tuple[float, int]:
    """Work until a job is claimed; return how long that took, and how many came before."""
    began, others = monotonic(), 0
    while True:
        attempts = (await worker.claim(SLOTS)).attempts
        assert attempts, "the queue is empty, and the job was not in it"
        await finish(worker, attempts)
        if wanted in {one.key.job_id for one in attempts}:
            return monotonic() - began, others
        others += len(attempts)


async def test_a_job_of_higher_priority_does_not_wait_for_the_queue(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """A busy worker that has gone on from the top takes it within a second."""
    await filled(desk, 4000)
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        for _ in range(10):
            await finish(worker, (await worker.claim(SLOTS)).attempts)
        wanted = await desk.submit("true", priority=10, rings=False)
        seconds, others = await seconds_until_claimed(worker, wanted)
    assert seconds < SOON
    assert others < 3500


async def test_a_released_older_job_is_found_again(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Though the worker has long gone past it, and there is more to go on with."""
    await filled(desk, 4000)
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        first, *rest = (await worker.claim(SLOTS)).attempts
        await finish(worker, rest)
        for _ in range(10):
            await finish(worker, (await worker.claim(SLOTS)).attempts)
        await worker.finish(first.key, Released("it was too much"))
        seconds, others = await seconds_until_claimed(worker, first.key.job_id)
    assert seconds < SOON
    assert others < 3500


async def test_a_job_whose_retry_is_due_is_found_between_the_others(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """It stands elsewhere in the table than those that wait for nothing."""
    await filled(desk, 4000)
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        for _ in range(5):
            await finish(worker, (await worker.claim(SLOTS)).attempts)
        wanted = await desk.call("test.nothing", priority=1)
        past = "UPDATE jobs SET available_at = now() - interval '1 s' WHERE job_id = $1"
        await desk.pool.execute(past, wanted)
        seconds, others = await seconds_until_claimed(worker, wanted)
    assert seconds < SOON
    assert others < 3500


@pytest.mark.parametrize("slots", [(SLOTS,), (SLOTS, 3, 50, 1)], ids=["even", "uneven"])
async def test_nothing_is_suggested_twice_to_one_worker(
    database: Database, desk: Desk, tmp_path: Path, slots: tuple[int, ...]
) -> None:
    """Alone it never meets itself: each claim is full, and what it finishes late is not in it.

    Where more is asked for than was read ahead for, what was read ahead comes first.
    """
    ids = await filled(desk, 2000)
    claimed: list[UUID] = []
    finishing: list[asyncio.Task[None]] = []
    async with open_coordinator(settings_for(tmp_path), database, SEALER) as worker:
        while len(claimed) < len(ids):
            wanted = slots[len(finishing) % len(slots)]
            claim = await worker.claim(wanted)
            attempts = claim.attempts
            claimed += [one.key.job_id for one in attempts]
            finishing.append(asyncio.create_task(finish(worker, attempts)))
            least = min(wanted, slots[(len(finishing) - 2) % len(slots)])
            assert least <= len(attempts) <= wanted or len(claimed) == len(ids)
            assert claim.has_more or len(claimed) == len(ids)
        assert (await worker.claim(SLOTS)).attempts == ()
        await asyncio.gather(*finishing)
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == set(ids)


async def test_two_workers_at_one_queue_meet_rarely(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """All is claimed once, and of what they wanted few were the other's already."""
    ids = await filled(desk, 5000)
    async with AsyncExitStack() as stack:
        racers = [
            await stack.enter_async_context(
                open_coordinator(settings_for(tmp_path), database, SEALER)
            )
            for _ in range(2)
        ]
        for _ in range(2):  # each knows of the other
            for racer in racers:
                async with racer.open_beater() as beater:
                    await beater.beat(())
        found = await asyncio.gather(*(_drain(racer) for racer in racers))
    claimed = [key.job_id for keys, _ in found for key in keys]
    assert len(claimed) == len(set(claimed)) == len(ids)
    conflicts = sum(missed for _, missed in found)
    assert conflicts < 0.2 * len(ids)
    assert min(len(keys) for keys, _ in found) > len(ids) / 10


async def _drain(worker: DirectCoordinator) -> tuple[list[AttemptKey], int]:
    """Take all there is; count at least what others had taken of what was suggested."""
    keys: list[AttemptKey] = []
    missed = 0
    while True:
        claim = await worker.claim(50)
        keys += [one.key for one in claim.attempts]
        if not claim.attempts and not claim.has_more:
            return keys, missed
        if claim.has_more:  # then 50 were suggested, or fewer and some were another's
            missed += 50 - len(claim.attempts)
        await finish(worker, claim.attempts)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
async def test_the_shares_of_the_table_are_disjoint_and_together_all(desk: Desk, of: int) -> None:
    """Whatever the salt, from the top and after some job; and none is much too small."""
    ids = await filled(desk, 1000)
    for salt in (0, 1, 7_000_000_001):
        for after, expected in ((None, ids), ((0, ids[399]), ids[400:])):
            shares = [
                await job_suggestions.claimable(
                    desk.pool, ("default",), "{}", 1000, Share(of, rank, salt), after
                )
                for rank in range(of)
            ]
            found = [job.job_id for share in shares for job in share]
            assert sorted(found) == expected
            assert min(map(len, shares)) > len(expected) / of / 3
