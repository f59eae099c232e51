"""What one worker knows of the jobs it holds, and what it writes of many of them at a time.

It decides nothing: the rules do. What it does not know, or what has changed meanwhile, it leaves
to who asks the log.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from reactorcide.eventstore.alike import Alike, Repeats, decided_alike
from reactorcide.eventstore.appender import Appender, Unit
from reactorcide.eventstore.domain.errors import CommandRejected
from reactorcide.eventstore.domain.job import (
    JOB,
    ClaimJob,
    FinishAttempt,
    JobState,
    StartJob,
    alike,
    likewise,
)
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.record import Appended, AppendedToMany, Context, new
from reactorcide.projections import job_rows
from reactorcide.projections.job_suggestions import Suggested
from reactorcide.worker.coordinator import AttemptKey, ClaimedAttempt
from reactorcide.worker.direct_errors import our_errors
from reactorcide.worker.first_claims import FirstClaim

_REPEATS: Final = Repeats(alike, likewise)

_Stream: TypeAlias = tuple[UUID, JobState, int]


class _Holding(NamedTuple):
    """A job as its worker last saw it: at `version` it stood likewise `model`."""

    version: int
    before: JobState
    model: JobState

    @property
    def state(self) -> JobState:
        return likewise(self.before, self.model)


class Holdings:
    """The jobs that one worker holds; `recorded` is called with the time of what was written."""

    def __init__(
        self, write: Appender[JobState], context: Context, recorded: Callable[[datetime], None]
    ) -> None:
        self._write = write
        self._context = context
        self._recorded = recorded
        self._held: dict[UUID, _Holding] = {}

    async def claim(
        self, wanted: Sequence[Suggested], command: ClaimJob
    ) -> tuple[list[ClaimedAttempt], bool]:
        """Claim jobs; return those won, in the order given, and whether others won some.

        Those that need nothing prepared are started by the same statement.
        """
        decisions = [
            decision
            for streams, starts in zip(_split(wanted), (False, True), strict=True)
            if streams
            for decision in decided_alike(
                JOB, _REPEATS, streams, replace(command, starts=starts), self._context
            )
        ]
        won = await self._append_alike(decisions)
        has_lost = len(won) < sum(len(one.befores) for one in decisions)
        taken: list[ClaimedAttempt] = []
        args = {job_id: args for job_id, _, _, args in wanted}
        for decision in decisions:
            taken += self._taken(decision, won if has_lost else None, args)
        if len(decisions) > 1:
            place = {job.job_id: nth for nth, job in enumerate(wanted)}
            taken.sort(key=lambda claimed: place[claimed.key.job_id])
        return taken, has_lost

    def take(self, claim: FirstClaim) -> list[ClaimedAttempt]:
        """Take note of jobs that were claimed without a look before, and return them."""
        taken = []
        attempt, held = claim.model.attempt, self._held
        holding: _Holding | None = None
        for job_id, version, state, args in claim.found:
            if holding is None or state is not holding.before or version != holding.version:
                # What it was asked for is its own: what ends a handler does not end a command.
                holding = _Holding(version, state, likewise(state, claim.model))
            held[job_id] = holding
            key = new(AttemptKey, (job_id, attempt))
            if (submitted := state.submitted) is not None:
                taken.append(new(ClaimedAttempt, (key, submitted, args, False)))
        self._recorded(claim.recorded_at)
        return taken

    def _taken(
        self,
        decision: Alike[JobState],
        won: Container[UUID] | None,
        args: Mapping[UUID, str | None],
    ) -> Iterator[ClaimedAttempt]:
        """Take note of the jobs of one decision that were won (None: all), and yield them."""
        attempt = decision.models[0].attempt  # one event, so one number
        version, is_started = decision.append.last_version, decision.append.then is not None
        holding = _Holding(version, decision.befores[0], decision.models[0])
        submitted, held = holding.before.submitted, self._held
        for job_id, before, model in zip(
            decision.append.stream_ids, decision.befores, decision.models, strict=True
        ):
            if before is not holding.before or model is not holding.model:  # many share one
                holding, submitted = _Holding(version, before, model), before.submitted
            if submitted is not None and (won is None or job_id in won):
                held[job_id] = holding
                key = new(AttemptKey, (job_id, attempt))
                yield new(ClaimedAttempt, (key, submitted, args[job_id], is_started))

    async def complete(self, job_ids: Iterable[UUID], command: FinishAttempt) -> frozenset[UUID]:
        """End attempts of one number alike; return the jobs of which that is in the log."""
        held = self._held
        streams = [
            (job_id, known.model, known.version)
            for job_id in job_ids
            if (known := held.get(job_id)) is not None
        ]
        decisions = decided_alike(JOB, _REPEATS, streams, command, self._context)
        return await self._append_alike(decisions)

    def decided(self, job_id: UUID, command: StartJob | FinishAttempt) -> Unit[JobState] | None:
        """Decide by what is known of the job; None when that is nothing, or out of date."""
        known = self._held.get(job_id)
        if known is None:
            return None
        try:
            return decided(JOB, known.state, known.version, job_id, command, self._context)
        except CommandRejected:
            return None

    async def append(self, units: Sequence[Unit[JobState]]) -> frozenset[UUID]:
        """Append what was decided, and remember it; return the jobs of which it is in the log."""
        if not units:
            return frozenset()
        with our_errors():
            results = await self._write.append(units)
        appended = []
        for (_, change), result in zip(units, results, strict=True):
            if isinstance(result, Appended):
                appended.append(change.stream_id)
                self._recorded(result.recorded_at)
                if change.stream_id in self._held:
                    self.learn(change.stream_id, change.version, change.state)
        return frozenset(appended)

    def learn(self, job_id: UUID, version: int, state: JobState) -> None:
        """Take note of how a job stands."""
        self._held[job_id] = _Holding(version, state, state)

    def forget(self, job_ids: Iterable[UUID]) -> None:
        """Take note of nothing any more: the attempts have ended."""
        held = self._held
        for job_id in job_ids:
            held.pop(job_id, None)

    async def _append_alike(self, decisions: Sequence[Alike[JobState]]) -> frozenset[UUID]:
        """Append decisions, each in a statement of its own; return whose events are in the log."""
        with our_errors():
            if len(decisions) == 1:  # a task of its own would cost a turn of the loop
                results = [await self._append_one(decisions[0])]
            else:
                results = await asyncio.gather(*map(self._append_one, decisions))
        for result in results:
            if result.recorded_at is not None:
                self._recorded(result.recorded_at)
        if len(results) == 1:
            return results[0].stream_ids
        return frozenset().union(*(result.stream_ids for result in results))

    async def _append_one(self, decision: Alike[JobState]) -> AppendedToMany:
        rows = job_rows.rows_to_many(decision, likewise)
        return await self._write.append_to_many(decision.append, rows)


def _split(wanted: Iterable[Suggested]) -> tuple[list[_Stream], list[_Stream]]:
    """Return the streams of jobs that need something prepared, and of those that do not."""
    prepared: list[_Stream] = []
    started: list[_Stream] = []
    last, part = None, prepared
    for job_id, version, state, _ in wanted:
        if state is not last:  # many may share one
            last, part = state, prepared if _is_prepared(state) else started
        part.append((job_id, state, version))
    return prepared, started


def _is_prepared(state: JobState) -> bool:
    """Say whether something is to be done before the job's command can start.

    A source, secrets and files of variables may fail, or take long. A handler's start is told
    when it takes its time.
    """
    submitted = state.submitted
    return (
        submitted is None
        or submitted.handler is not None
        or submitted.source_type != "none"
        or bool(submitted.sealed_env_vars)
        or submitted.job_env_file is not None
    )
