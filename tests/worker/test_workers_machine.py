"""Workers that come, crash, stop and speak late, under a clock, over the real store.

Whatever they do in whatever order: an attempt has one holder, what ended stays ended, nobody
counts more attempts than are allowed, and every row is what its stream makes.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from reactorcide.benchmarks.chaos_audit import Audit, audit
from reactorcide.eventstore import store
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.errors import NotLeaseHolder, NotLegal
from reactorcide.eventstore.domain.job import (
    FINAL,
    LOST_LEASES_LIMIT,
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    TimedOut,
)
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job
from reactorcide.projections.upkeep import upkeep
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, desk_of, request
from reactorcide.worker.coordinator import AttemptKey, Report
from reactorcide.worker.direct import DirectCoordinator, Doors
from reactorcide.worker.settings import WorkerSettings

T = TypeVar("T")

LEASE: Final = 60.0
PASSES: Final = """
UPDATE jobs SET lease_until = lease_until - $1::float8 * interval '1 second'
WHERE lease_until IS NOT NULL"""

OUTCOMES: Final = st.sampled_from([
    Completed(), Failed(1, "no"), TimedOut(143, "too long"), Cancelled(None), Released("drain"),
])  # fmt: skip
NUMBERS: Final = st.integers(0, 2)
# Whom a race left with what differs from time to time: what is drawn must not depend on it.
PICKS: Final = st.integers(0, 20)
COURSES: Final = itertools.count()
COURSES_HERE: Final = int(os.environ.get("REACTORCIDE_COURSES", "6"))
"""`make courses` goes through hundreds."""


@dataclass(slots=True)
class Hand:
    """One worker: its coordinator, and what it believes to hold."""

    coordinator: DirectCoordinator
    holds: set[AttemptKey] = field(default_factory=set)


class WorkersMachine(RuleBasedStateMachine):
    """Three workers, a clock, and somebody who cancels."""

    run: ClassVar[asyncio.Runner]
    desk: ClassVar[Desk]
    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.queue = f"course-{next(COURSES)}"
        self.ids: list[UUID] = []
        self.ended: dict[UUID, str] = {}
        self.former: list[tuple[UUID, AttemptKey]] = []
        self.hands = [self.do(self.hired()) for _ in range(3)]

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end."""
        return self.run.run(coroutine)

    async def hired(self) -> Hand:
        """Return a new worker, without a task that would look after leases by itself."""
        doorbell = self.desk.doorbell
        work, control = doorbell.listen("jobs"), doorbell.listen("control")
        doors = Doors(self.database, self.desk.pool, self.desk.write, doorbell, work, control)
        of_worker = WorkerSettings(
            "hand", Path("/nonexistent"), queues=(self.queue,), lease_seconds=LEASE
        )
        return Hand(DirectCoordinator(of_worker, doors, SEALER, new_id()))

    @rule(max_attempts=st.integers(1, 3), on_lost_lease=st.sampled_from(["requeue", "fail"]))
    def submit(self, max_attempts: int, on_lost_lease: str) -> None:
        """Submit a job."""
        one = request(max_attempts=max_attempts, on_lost_lease=on_lost_lease, queue_name=self.queue)
        self.ids += self.do(self.desk.submit_many([one], rings=False))

    @rule(who=NUMBERS, slots=st.integers(2, 5))
    def claim(self, who: int, slots: int) -> None:
        """Take work."""
        hand = self.hands[who]
        claim = self.do(hand.coordinator.claim(slots))
        for one in claim.attempts:
            assert not any(one.key in other.holds for other in self.hands), "claimed twice"
            hand.holds.add(one.key)

    @rule(who=NUMBERS)
    def claim_at_once(self, who: int) -> None:
        """Take work at the same time as somebody else."""
        pair = self.hands[who], self.hands[(who + 1) % 3]
        claims = self.do(self.together(*(hand.coordinator.claim(2) for hand in pair)))
        taken = [one.key for claim in claims for one in claim.attempts]
        assert len(set(taken)) == len(taken), "claimed by both"
        for hand, claim in zip(pair, claims, strict=True):
            hand.holds |= {one.key for one in claim.attempts}

    async def together(self, *coroutines: Coroutine[Any, Any, T]) -> list[T]:
        """Run at the same time."""
        return await asyncio.gather(*coroutines)

    @rule(who=NUMBERS, pick=PICKS)
    def start(self, who: int, pick: int) -> None:
        """Start what may not be held any more."""
        hand = self.hands[who]
        if hand.holds:
            key = sorted(hand.holds)[pick % len(hand.holds)]
            self.judge(key, lambda: hand.coordinator.start(key), hand.coordinator.worker_id)

    @rule(who=NUMBERS, pick=PICKS, outcome=OUTCOMES)
    def finish(self, who: int, pick: int, outcome: Outcome) -> None:
        """Report, perhaps too late."""
        hand = self.hands[who]
        if hand.holds:
            key = sorted(hand.holds)[pick % len(hand.holds)]
            hand.holds.discard(key)
            self.judge(
                key, lambda: hand.coordinator.finish(key, outcome), hand.coordinator.worker_id
            )

    @rule(who=NUMBERS, pick=PICKS, outcome=OUTCOMES)
    def speak_for_a_former(self, who: int, pick: int, outcome: Outcome) -> None:
        """Send what a worker that crashed has left in its spool."""
        if self.former:
            worker_id, key = self.former[pick % len(self.former)]
            by = self.hands[who].coordinator
            self.judge(key, lambda: by.finish_late(worker_id, Report(key, outcome)), worker_id)

    def judge(self, key: AttemptKey, write: Any, worker_id: UUID) -> None:
        """Write for an attempt: heard if and only if that worker holds it (or the rules say no)."""
        before = self.do(self.look(key.job_id)).state
        is_held = (before.status, before.attempt, before.worker_id) in {
            (status, key.attempt, worker_id) for status in ("claimed", "running")
        }
        try:
            self.do(write())
        except NotLeaseHolder:
            assert not is_held, "held, and refused"
        except NotLegal:
            assert is_held, "not held, and told something else"
        else:
            assert is_held, "a stale write was heard"

    async def look(self, job_id: UUID) -> Job:
        """Return a job as its row has it."""
        return await self.desk.job(job_id)

    @rule(who=NUMBERS)
    def beat(self, who: int) -> None:
        """Renew leases; what is not in the answer is lost indeed."""
        hand = self.hands[who]

        async def answer() -> set[AttemptKey]:
            async with hand.coordinator.open_beater() as beater:
                return set(await beater.beat(sorted(hand.holds)))

        held = self.do(answer())
        for key in hand.holds - held:
            state = self.do(self.look(key.job_id)).state
            assert (state.attempt, state.status in {"claimed", "running"}) != (key.attempt, True)
        hand.holds &= held

    @rule(seconds=st.sampled_from([10.0, 50.0, 70.0, 70.0]), is_noticed=st.booleans())
    def time_passes(self, seconds: float, is_noticed: bool) -> None:  # noqa: FBT001  drawn
        """Let leases run; two may notice what is over, at the same time."""
        self.do(self.desk.pool.execute(PASSES, seconds))
        if is_noticed:
            looks = [upkeep(self.desk.pool, self.desk.write) for _ in range(2)]
            self.do(self.together(*looks))

    @rule(who=NUMBERS, pick=PICKS, outcome=OUTCOMES)
    def pause_for_too_long(self, who: int, pick: int, outcome: Outcome) -> None:
        """Report after others have taken over: rare enough by chance alone."""
        self.time_passes(70.0, is_noticed=True)
        self.claim((who + 1) % 3, 5)
        self.finish(who, pick, outcome)

    @rule(who=NUMBERS)
    def crash(self, who: int) -> None:
        """Forget all, and be another worker."""
        hand = self.hands[who]
        self.former += [(hand.coordinator.worker_id, key) for key in hand.holds]
        self.do(hand.coordinator.close())
        self.hands[who] = self.do(self.hired())

    @rule(pick=PICKS, grace=st.sampled_from([0, 10]))
    def cancel(self, pick: int, grace: int) -> None:
        """Ask for an end."""
        if self.ids:
            job_id = self.ids[pick % len(self.ids)]
            try:
                self.do(self.desk.cancel(job_id, grace, rings=False))
            except NotLegal:
                assert self.do(self.look(job_id)).state.status in FINAL

    @rule()
    def all_is_well(self) -> None:
        """Judge every stream, and compare it with its row."""
        streams = self.do(self.streams())
        found = audit(streams, self.ids, [], frozenset())
        assert replace_counts(found) == Audit(), found
        for job_id, recorded in streams.items():
            job = self.do(self.look(job_id))
            assert jobs.fold(recorded) == job
            state, asked = job.state, job.submitted
            assert state.failures <= asked.max_attempts
            assert state.lost_leases <= LOST_LEASES_LIMIT
            if state.status in FINAL:
                assert self.ended.setdefault(job_id, state.status) == state.status
            else:
                assert job_id not in self.ended, "it had ended"

    async def streams(self) -> dict[UUID, Any]:
        """Return the events of all jobs of this run."""
        return {one: await store.read_stream(self.desk.pool, one) for one in self.ids}

    def teardown(self) -> None:
        """Judge once more, and let the workers go."""
        self.all_is_well()
        for hand in self.hands:
            self.do(hand.coordinator.close())


def replace_counts(found: Audit) -> Audit:
    """Leave out what may well be: jobs that have not ended, and those that no command ran for."""
    found.stuck = found.lost = found.poisoned = 0
    found.notes = [note for note in found.notes if "did not come to its end" not in note]
    return found


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop that outlives one course."""
    with asyncio.Runner() as runner:
        yield runner


@asynccontextmanager
async def _desk(database: Database) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(desk_of(database))


@pytest.fixture
def desk(runner: asyncio.Runner, database: Database) -> Iterator[Desk]:
    """The other side of the coordinators, in the same event loop."""
    opening = _desk(database)
    yield runner.run(opening.__aenter__())
    runner.run(opening.__aexit__(None, None, None))


def check(runner: asyncio.Runner, desk: Desk, database: Database) -> None:
    """Run the machine on this database."""
    placed = {"run": runner, "desk": desk, "database": database}
    machine = type("Placed", (WorkersMachine,), placed)
    how = settings(
        max_examples=COURSES_HERE,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # races are not the same twice: nothing can be shrunk
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(machine, settings=how)


def test_workers_keep_the_peace(runner: asyncio.Runner, desk: Desk, database: Database) -> None:
    """No course of claims, crashes, pauses, cancels and late reports breaks it."""
    check(runner, desk, database)
