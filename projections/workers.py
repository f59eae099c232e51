"""Table `workers`, read with `worker_beats`: who executes. All its writes and all its queries."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never
from uuid import UUID

import asyncpg

from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.domain.events import (
    WorkerDrained,
    WorkerEvent,
    WorkerRegistered,
    WorkerStopped,
)
from reactorcide.eventstore.domain.worker import WorkerState, WorkerStatus
from reactorcide.eventstore.handle import Change, Handled
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import folding
from reactorcide.projections.folding import Fact
from reactorcide.projections.paging import ROWS_COUNTED, Listed, Page, listed

# The rows of new and changed workers, inside the append's statement. Queues travel as JSON:
# PostgreSQL has no arrays of arrays of different lengths.
INLINE: Final = """
, written_workers AS (
    INSERT INTO workers (
        worker_id, version, status, name, hostname, pid, queues, concurrency, labels, runner,
        code_version, created_at, updated_at
    )
    SELECT
        worker_id, version, status, name, hostname, pid,
        ARRAY(SELECT jsonb_array_elements_text(queues)), concurrency, labels, runner,
        code_version, now(), now()
    FROM unnest(
        $17::uuid[], $18::int[], $19::text[], $20::text[], $21::text[], $22::int[], $23::jsonb[],
        $24::int[], $25::jsonb[], $26::text[], $27::text[]
    ) AS w (
        worker_id, version, status, name, hostname, pid, queues, concurrency, labels, runner,
        code_version
    )
    WHERE w.worker_id = ANY (ARRAY(SELECT stream_id FROM first))
    ON CONFLICT (worker_id) DO UPDATE SET
        version = excluded.version,
        status = excluded.status,
        updated_at = excluded.updated_at
)"""

_GET: Final = """
SELECT w.*, b.beat_at FROM workers AS w LEFT JOIN worker_beats AS b USING (worker_id)
WHERE w.worker_id = $1"""
_LIST: Final = """
SELECT w.*, b.beat_at FROM workers AS w LEFT JOIN worker_beats AS b USING (worker_id)
WHERE $1::uuid IS NULL OR w.worker_id < $1
ORDER BY w.worker_id DESC LIMIT $2 OFFSET $3"""
_COUNT: Final = "SELECT count(*) FROM (SELECT FROM workers LIMIT $1) AS few"

# See endings.py. It ends when it stopped in good order; one that vanished may still come back.
ENDED: Final = """
SELECT w.worker_id, w.version FROM workers AS w
CROSS JOIN LATERAL (
    SELECT position FROM events WHERE stream_id = w.worker_id ORDER BY version DESC LIMIT 1
) AS last
WHERE w.status = 'stopped' AND w.updated_at < $1 AND last.position <= $2 AND w.worker_id > $3
    AND NOT EXISTS (SELECT FROM jobs_held AS j WHERE j.worker_id = w.worker_id)
ORDER BY w.worker_id LIMIT $4"""
DROP: Final = """
WITH beats AS (DELETE FROM worker_beats WHERE worker_id = ANY ($1::uuid[]))
DELETE FROM workers WHERE worker_id = ANY ($1::uuid[])"""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as it stands after event `version` of its stream."""

    worker_id: UUID
    version: int
    status: WorkerStatus
    name: str
    hostname: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    labels: Mapping[str, str]
    runner: str
    code_version: str
    created_at: datetime
    updated_at: datetime
    beat_at: datetime | None = None
    """When it was last heard of. Not a fold: None in what `fold` and `after` return."""


def fold(recorded: Iterable[RecordedEvent]) -> Worker | None:
    """Return the worker that its stream's events make, from the first on; None without any."""
    return folding.fold(folded, recorded)


def after(handled: Handled[WorkerState, WorkerEvent]) -> Worker:
    """Return the worker as a command left it, without another read."""
    return folding.after(folded, handled)


def folded(worker_id: UUID, facts: Sequence[Fact[WorkerEvent]]) -> Worker:
    """Return the worker that all its facts make, one at least."""
    worker: Worker | None = None
    for at, event in facts:
        worker = _applied(worker, worker_id, at, event)
    assert worker is not None  # noqa: S101  there is one fact at least
    return worker


def _applied(worker: Worker | None, worker_id: UUID, at: datetime, event: WorkerEvent) -> Worker:
    match event:
        case WorkerRegistered():
            return _registered(worker_id, at, event)
        case WorkerDrained():
            return replace(_next(worker, at), status=WorkerStatus.DRAINING)
        case WorkerStopped():
            return replace(_next(worker, at), status=WorkerStatus.STOPPED)
        case _:
            assert_never(event)


def _registered(worker_id: UUID, at: datetime, event: WorkerRegistered) -> Worker:
    return Worker(
        worker_id=worker_id,
        version=1,
        status=WorkerStatus.ACTIVE,
        name=event.name,
        hostname=event.hostname,
        pid=event.pid,
        queues=event.queues,
        concurrency=event.concurrency,
        labels=event.labels,
        runner=event.runner,
        code_version=event.code_version,
        created_at=at,
        updated_at=at,
    )


def _next(worker: Worker | None, at: datetime) -> Worker:
    assert worker is not None  # noqa: S101  a stream begins with worker.registered
    return replace(worker, version=worker.version + 1, updated_at=at)


def rows(changes: Sequence[Change[WorkerState]]) -> InlineRows:
    """Return what the append of these changes writes."""
    written = [
        (
            change.stream_id,
            change.version,
            change.state.status,
            registered.name,
            registered.hostname,
            registered.pid,
            json.dumps(registered.queues),
            registered.concurrency,
            json.dumps(registered.labels),
            registered.runner,
            registered.code_version,
        )
        for change in sorted(changes, key=lambda change: change.stream_id)
        if (registered := change.state.registered) is not None
    ]
    return InlineRows(INLINE, tuple(map(list, zip(*written, strict=True))))


COLUMNS: Final = (
    *("worker_id", "version", "status", "name", "hostname", "pid", "queues", "concurrency"),
    *("labels", "runner", "code_version", "created_at", "updated_at"),
)


def values(worker_id: UUID, facts: Sequence[Fact[WorkerEvent]]) -> tuple[Any, ...]:
    """Return the row of a worker, in the order of COLUMNS."""
    worker = folded(worker_id, facts)
    labels = {"labels": json.dumps(dict(worker.labels))}  # the driver takes JSON as text
    return tuple(labels.get(column) or getattr(worker, column) for column in COLUMNS)


def worker_of(row: asyncpg.Record) -> Worker:
    """Return the worker that a row of the table, with its last beat, holds."""
    return Worker(
        worker_id=row["worker_id"],
        version=row["version"],
        status=WorkerStatus(row["status"]),
        name=row["name"],
        hostname=row["hostname"],
        pid=row["pid"],
        queues=tuple(row["queues"]),
        concurrency=row["concurrency"],
        labels=json.loads(row["labels"]),
        runner=row["runner"],
        code_version=row["code_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        beat_at=row["beat_at"],
    )


async def get(connection: Reader, worker_id: UUID) -> Worker | None:
    """Return a worker; None when it is unknown."""
    row = await connection.fetchrow(_GET, worker_id)
    return None if row is None else worker_of(row)


async def list_page(connection: Reader, page: Page) -> Listed[Worker]:
    """Return a page of workers, newest first, also those that stopped."""
    found = await connection.fetch(_LIST, page.before, page.limit + 1, page.offset)
    count: int = await connection.fetchval(_COUNT, ROWS_COUNTED + 1)
    total = count if count <= ROWS_COUNTED else None
    return listed(
        [worker_of(row) for row in found], [row["worker_id"] for row in found], page, total
    )
