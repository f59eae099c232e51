"""What a fold must keep to, for any history: prefixes, old versions, any batching, any crash."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactorcide.eventstore.codec import Encoded, Upcaster, decode, encode
from reactorcide.eventstore.database import Connection as AnyConnection
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.decider import fold
from reactorcide.eventstore.domain.events import JobEvent, JobReleased, JobSubmitted
from reactorcide.eventstore.domain.job import JOB
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import checkpoints, jobs, refilling, table
from reactorcide.projections.audit_events import SUBSCRIPTION
from reactorcide.projections.checkpoints import CheckpointMoved
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.replay import Folding
from reactorcide.projections.subscription import advance
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.job_strategies import job_histories
from reactorcide.tests.eventstore.domain.laws import JobHistory
from reactorcide.tests.eventstore.domain.samples import DEPENDENCY, NOW
from reactorcide.tests.projections.histories import batches, record_batch, some_streams

ON_TABLES: Final = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
JOBS: Final = named("jobs")


def _quiet(_done: int, _total: int) -> None:
    """Hear of no progress."""


def _times(events: Sequence[JobEvent]) -> list[datetime]:
    return [NOW + timedelta(seconds=number) for number in range(len(events))]


@settings(max_examples=60, deadline=None)
@given(job_histories())
def test_every_prefix_has_the_row_of_its_course(history: JobHistory) -> None:
    """The way that a rebuild takes makes the same row as the fold, after each event."""
    events = history.events
    for length in range(1, len(events) + 1):
        prefix, times = events[:length], _times(events[:length])
        row = jobs.values(DEPENDENCY, list(zip(times, prefix, strict=True)))
        course = jobs.course(prefix)
        assert row == jobs.values_by_course(DEPENDENCY, times, prefix[0], course)
        assert course.state == fold(JOB, prefix)


@settings(max_examples=60, deadline=None)
@given(job_histories())
def test_a_course_takes_nothing_of_the_request_but_whether_it_waits(history: JobHistory) -> None:
    """So it may be remembered for all jobs that went the same way."""
    events = history.events
    if not events or jobs.on_course(events[0]) is None:
        return
    other = JobSubmitted(
        user_id=DEPENDENCY,
        name="another",
        handler="mail.send",
        priority=9,
        waits=bool(jobs.on_course(events[0])),
    )
    mine, others = jobs.course(events), jobs.course((other, *events[1:]))
    assert mine._replace(state=mine.state._replace(submitted=other)) == others


@settings(max_examples=30, deadline=None, suppress_health_check=ON_TABLES)
@given(history=job_histories())
async def test_bytes_made_once_for_many_are_those_of_each_row(
    connection: Connection, history: JobHistory
) -> None:
    """Of jobs that went the same way with other times or another request, whoever came first."""
    if not history.events:
        return
    mine = history.events[0]
    assert isinstance(mine, JobSubmitted)
    encoding = await table.encoding(connection, JOBS)
    folding = Folding(JOBS, encoding)
    other = mine.model_copy(update={"name": "ünother", "priority": 9, "labels": {"a": "b"}})
    for first in (mine, other, mine, other):
        events: list[Any] = [first, *history.events[1:]]
        job_id = new_id()
        times = [
            NOW + timedelta(microseconds=job_id.int % 10**9 + nth) for nth in range(len(events))
        ]
        sent = await connection.fetchval("SELECT array_send($1::timestamptz[])", times)
        written = [encode(new_id(), event) for event in events]
        text = "\n".join(f"{one.schema_version} {one.type} {one.data}" for one in written)
        row = jobs.values(job_id, list(zip(times, events, strict=True)))
        assert folding.encoded([(job_id.bytes, sent, text)]) == encoding.row(row)


_UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {
    ("job.released", 1): lambda data: {"attempt": data["attempt"], "because": data["why"]},
    ("job.released", 2): lambda data: {"attempt": data["attempt"], "reason": data["because"]},
}
_NAMES: Final = {1: "why", 2: "because", 3: "reason"}


@settings(max_examples=60, deadline=None)
@given(job_histories(), st.data())
def test_upcasters_commute_with_the_fold(history: JobHistory, data: st.DataObject) -> None:
    """Whichever version each event of a history was written in, the state is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobReleased, "schema_version", 3)
        written = []
        for event in history.events:
            kept = encode(new_id(), event)
            fields, version = json.loads(kept.data), kept.schema_version
            if isinstance(event, JobReleased):
                version = data.draw(st.sampled_from(sorted(_NAMES)))
                fields[_NAMES[version]] = fields.pop("reason")
            written.append(Encoded(1, kept.type, version, json.dumps(fields)))
        read: list[Any] = [decode(one, _UPCASTERS) for one in written]
    for length in range(len(read) + 1):
        assert fold(JOB, read[:length]) == fold(JOB, history.events[:length])


@settings(max_examples=5, deadline=None, suppress_health_check=ON_TABLES)
@given(streams=some_streams["job"], seed=st.integers(0, 2**32))
async def test_the_table_equals_the_replay_of_every_prefix(
    database: Database, connection: Connection, streams: list[Any], seed: int
) -> None:
    """After each append, whatever its batch."""
    for batch in batches(streams, Random(seed)):  # noqa: S311  a test's dice
        await record_batch(connection, batch)
        assert (await verify(database, JOBS, _quiet)).differences == ()


@settings(max_examples=6, deadline=None, suppress_health_check=ON_TABLES)
@given(
    streams=some_streams["job"],
    seed=st.integers(0, 2**32),
    each=st.sampled_from((4, 40, 10**6)),
    stops=st.lists(st.integers(0, 30), max_size=2),
)
async def test_a_rebuild_in_any_slices_with_any_stops_equals_the_live_table(  # noqa: PLR0913, PLR0917  what is drawn
    database: Database,
    connection: Connection,
    streams: list[Any],
    seed: int,
    each: int,
    stops: list[int],
) -> None:
    """Streams go on between a stop and the next try; what was folded before is put right."""
    rest = list(batches(streams, Random(seed)))  # noqa: S311  a test's dice
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # slices are small, and the programs still one
        for stop in stops:
            if rest:
                await record_batch(connection, rest.pop(0))
            await _stopped(database, each, stop)
        for batch in rest:
            await record_batch(connection, batch)
        made = await rebuild(database, JOBS, _quiet, each)
    assert not made.differed
    assert (await verify(database, JOBS, _quiet)).differences == ()


async def _stopped(database: Database, each: int, after: int) -> None:
    """Rebuild in the slices of `each` events, and stop after so many."""

    def stop(done: int, _total: int) -> None:
        if done > after:
            task.cancel()

    task = asyncio.create_task(rebuild(database, JOBS, stop, each))
    await asyncio.wait([task])


@settings(max_examples=6, deadline=None, suppress_health_check=ON_TABLES)
@given(
    streams=some_streams["job"],
    steps=st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from(("taken", "crashed", "twice"))), min_size=1
    ),
)
async def test_a_followed_table_equals_the_log_however_it_was_delivered(
    database: Database,
    connection: Connection,
    streams: list[Any],
    steps: list[tuple[int, str]],
) -> None:
    """In any batches, some of them delivered twice, some undone by a crash before the commit."""
    for batch in batches(streams, Random(1)):  # noqa: S311  a test's dice
        await record_batch(connection, batch)
    async with checkpoints.session(database) as session:
        await checkpoints.take(session, SUBSCRIPTION.name)
        for size, end in steps:
            await _delivered(session, size, end)
        while (await advance(session, SUBSCRIPTION, 5)).is_behind:
            pass
    assert (await refilling.verify(database, SUBSCRIPTION)).differences == ()
    assert not (await rebuild(database, SUBSCRIPTION, _quiet)).differed


class _CrashedError(Exception):
    """The runner is gone."""


async def _delivered(session: AnyConnection, size: int, end: str) -> None:
    """Take a batch; or crash when it is written; or have it once more, by a stale runner."""
    after = await checkpoints.position(session, SUBSCRIPTION.name)

    async def crash(inside: AnyConnection, start: int, until: int) -> None:
        await SUBSCRIPTION.write(inside, start, until)
        raise _CrashedError

    if end == "crashed":
        try:
            await advance(session, replace(SUBSCRIPTION, write=crash), size)
        except _CrashedError:
            assert await checkpoints.position(session, SUBSCRIPTION.name) == after
        return
    reached = (await advance(session, SUBSCRIPTION, size)).position
    if end == "twice" and reached > after:
        with pytest.raises(CheckpointMoved):
            await checkpoints.move(session, SUBSCRIPTION.name, after, reached)
