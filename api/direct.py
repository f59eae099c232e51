"""Submitting jobs from a Python program that may open the database: no HTTP, the same rules.

`Submitter` is for a program that submits on its own; `submit_in` and `submit_all_in` are for one
that wants its own rows and the job in one transaction. Nobody is authenticated: who may open the
database may submit in anybody's name. Reads no settings.
"""

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import lru_cache
from itertools import islice
from types import TracebackType
from typing import Final, Self, Unpack
from uuid import UUID

from reactorcide.api.errors import Flaw, Problem
from reactorcide.api.jobs import asked
from reactorcide.api.jobs.asked import Asked, JobFields, Refused
from reactorcide.api.jobs.forms import Filled, Forms
from reactorcide.api.jobs.requests import JobRequest, Seal
from reactorcide.api.jobs.submission import (
    Submission,
    new_alike,
    new_units,
    submit_unless_active,
)
from reactorcide.eventstore.appender import Appender, Unit
from reactorcide.eventstore.database import Connection, Database, Pool, database_errors
from reactorcide.eventstore.domain.job import JobState
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.handle import AppendDoor, Change, ConflictPersists, TransactionDoor
from reactorcide.eventstore.inline_rows import InlineRows, Rows
from reactorcide.eventstore.record import Appended, Context
from reactorcide.eventstore.sealing import Sealer
from reactorcide.projections import job_rows

__all__ = ["JobFields", "JobRequest", "Refused", "Submitter", "submit_all_in", "submit_in"]

_USER_AGENT: Final = "reactorcide.api.direct"
_CHUNK_JOBS: Final = 500
_TURNS: Final = 3
"""Of the event loop, until a connection has taken what was handed in."""


class Submitter:
    """Submits jobs of one user, over `connections` connections of its own and one to ring by.

    Use it as an async context manager; the tasks of one event loop share it, and what they
    submit at the same time is written together. `secret_key` are the 32 bytes that the workers
    have too, for jobs with `secret_env_vars`.
    """

    def __init__(
        self,
        database_uri: str,
        user_id: UUID,
        connections: int = 2,
        secret_key: bytes | None = None,
    ) -> None:
        self._database = Database(database_uri)
        self._user_id = user_id
        self._seal = _sealing(secret_key)
        self._forms = Forms(user_id, self._seal)
        self._context = _context_of(user_id)
        self._connections = connections
        self._appender = Appender(self._database, job_rows.rows, connections, job_rows.kind_of)
        self._doorbell = Doorbell(self._database, ())
        self._pool: Pool
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect. Raises DatabaseUnavailable."""
        async with AsyncExitStack() as stack:
            self._pool = await self._database.create_pool(0, self._connections)
            stack.push_async_callback(self._pool.close)
            await stack.enter_async_context(self._doorbell)
            await stack.enter_async_context(self._appender)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what was handed in, ring, and disconnect."""
        await self._stack.aclose()

    async def submit(self, name: str | None = None, **fields: Unpack[JobFields]) -> UUID:
        """Submit a job as POST /jobs does; return its id when it is in the log.

        It is called after its handler or command if no name is given. When an active job has
        its `unique_key`, that job's id is returned. Raises Refused, and DatabaseError.
        """
        given = {"name": name, **fields}
        filled = self._forms.fill([given])
        if filled is None:
            request = asked.one(given)
            if request.unique_key is not None or request.depends_on:
                (job_id,) = await self._submit_carefully([request])
                return job_id
            submitted = request.submitted(self._user_id, self._seal)
            (job_id,) = await self._append(new_units([submitted], [False], self._context))
        else:
            (job_id,) = await self._append_alike(filled)
        return job_id

    async def submit_many(self, requests: Iterable[Asked]) -> list[UUID]:
        """Submit many jobs, each as `submit` does; their ids are in the order of `requests`.

        They are written 500 at a time, all or none of these, and some are written while the next
        are taken from `requests`: when it raises, those before the one that it points at
        may be in the log. Raises Refused (`/7/args` is in number 7), and DatabaseError.
        """
        ids: list[UUID] = []
        writing: deque[asyncio.Task[list[UUID]]] = deque()
        try:
            for first, chunk in _chunks(requests, _CHUNK_JOBS):
                if len(writing) > self._connections:
                    ids += await writing.popleft()
                writing.append(asyncio.create_task(self._submit_all(chunk, first)))
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
            while writing:
                ids += await writing.popleft()
        finally:
            await asyncio.gather(*writing, return_exceptions=True)
        return ids

    async def _submit_all(self, chunk: Sequence[Asked], first: int) -> list[UUID]:
        """Submit them, all or none."""
        filled = self._forms.fill(chunk)
        if filled is not None:
            return await self._append_alike(filled)
        requests = asked.many(chunk, first)
        if any(one.unique_key is not None or one.depends_on for one in requests):
            return await self._submit_carefully(requests, first)
        submitted = [one.submitted(self._user_id, self._seal) for one in requests]
        return await self._append(new_units(submitted, [False] * len(submitted), self._context))

    async def _append_alike(self, filled: Filled) -> list[UUID]:
        """Append new jobs as columns."""
        append = new_alike(*filled, self._context)
        await self._appender.append_to_new(append, job_rows.rows_to_new, self._doorbell)
        return append.stream_ids

    async def _append(self, units: Sequence[Unit[JobState]]) -> list[UUID]:
        for result in await self._appender.append(units):
            if not isinstance(result, Appended):
                raise ConflictPersists(result.stream_id, 1)
        self._ring()
        return [append.stream_id for append, _ in units]

    async def _submit_carefully(
        self, requests: Sequence[JobRequest], first: int | None = None
    ) -> list[UUID]:
        """Submit what needs a look at other jobs first, in a transaction of its own."""
        submissions = _submissions(requests, self._user_id, self._seal, first)
        with database_errors():
            async with self._pool.acquire() as connection, connection.transaction():
                door = TransactionDoor(connection, job_rows.rows)
                ids = await _submitted(connection, door, submissions, self._context)
        self._ring()
        return ids

    def _ring(self) -> None:
        self._doorbell.ring("jobs")
        self._doorbell.ring("events")


async def submit_in(
    connection: Connection,
    *,
    user_id: UUID,
    name: str | None = None,
    secret_key: bytes | None = None,
    **fields: Unpack[JobFields],
) -> UUID:
    """Submit a job on the caller's connection, as a part of its transaction if it is in one.

    The job is there when, and only if, that transaction commits (READ COMMITTED, for jobs with a
    `unique_key`); workers hear of it at that moment, by a NOTIFY of the transaction, for which
    commits that notify stand in line. Raises Refused, before anything is written, and
    DatabaseError. That the user exists is not asked.
    """
    request = asked.one({"name": name, **fields})
    (job_id,) = await _submit_in(connection, [request], user_id, _sealing(secret_key))
    return job_id


async def submit_all_in(
    connection: Connection,
    requests: Iterable[Asked],
    *,
    user_id: UUID,
    secret_key: bytes | None = None,
) -> list[UUID]:
    """Submit jobs as `submit_in` does, all or none; their ids are in the order of `requests`."""
    made = asked.many(requests)
    return await _submit_in(connection, made, user_id, _sealing(secret_key), 0) if made else []


async def _submit_in(
    connection: Connection,
    requests: Sequence[JobRequest],
    user_id: UUID,
    seal: Seal,
    first: int | None = None,
) -> list[UUID]:
    _check_codecs(connection)
    submissions = _submissions(requests, user_id, seal, first)
    is_one = len(submissions) == 1 and submissions[0].submitted.unique_key is None
    own = nullcontext() if is_one or connection.is_in_transaction() else connection.transaction()
    with database_errors():
        async with own:
            door = TransactionDoor(connection, _rows_and_ring)
            return await _submitted(connection, door, submissions, _context_of(user_id))


def _check_codecs(connection: Connection) -> None:
    """Refuse a connection that would write our JSON its own way. Raises TypeError."""
    settings = connection.get_settings()
    for name, number in _TYPES.items():
        if settings.get_data_codec(number) is not settings.get_data_codec(
            number, ignore_custom_codec=True
        ):
            msg = f"the connection has a codec of its own for {name}; submit over one without"
            raise TypeError(msg)


async def _submitted(
    connection: Connection,
    door: AppendDoor[JobState],
    submissions: Sequence[Submission],
    context: Context,
) -> list[UUID]:
    try:
        answers, _ = await submit_unless_active(connection, door, submissions, context)
    except Problem as problem:
        raise Refused(problem.flaws) from None
    return [job.job_id for job in answers]


def _submissions(
    requests: Sequence[JobRequest], user_id: UUID, seal: Seal, first: int | None
) -> list[Submission]:
    """Return them with their pointers: number `first` and on, or none for the only one."""
    return [
        Submission(request.submitted(user_id, seal), "" if first is None else f"/{first + nth}")
        for nth, request in enumerate(requests)
    ]


def _rows_and_ring(changes: Sequence[Change[JobState]]) -> Rows:
    """Return the rows of new jobs, and the rings for who waits for them: no more round trips."""
    rows = job_rows.rows(changes)
    assert isinstance(rows, InlineRows)  # noqa: S101  new jobs have no guard
    return InlineRows(rows.sql + _RINGS, rows.arguments)


# PostgreSQL runs a part of WITH that nothing reads only if it writes: this one never does.
_RINGS: Final = """,
rung AS (
    INSERT INTO queue_changes (queue_name, status, jobs)
    SELECT '', '', 0
    WHERE pg_notify('reactorcide_jobs', '') IS NULL OR pg_notify('reactorcide_events', '') IS NULL
)"""


_TYPES: Final = {"jsonb": 3802, "uuid": 2950, "text": 25, "timestamptz": 1184, "int4": 23}
"""What a submit sends: PostgreSQL's numbers of its own types never change."""


def _chunks(requests: Iterable[Asked], size: int) -> Generator[tuple[int, list[Asked]], None, None]:
    """Yield so many at a time, and the number of the first of them."""
    left = iter(requests)
    first = 0
    while chunk := list(islice(left, size)):
        yield first, chunk
        first += len(chunk)


@lru_cache
def _context_of(user_id: UUID) -> Context:
    """Return one object for all: the log writes events of one context at less cost."""
    return Context(actor_type="user", actor_id=user_id, user_agent=_USER_AGENT)


def _sealing(secret_key: bytes | None) -> Seal:
    return _no_key if secret_key is None else Sealer(secret_key).seal


def _no_key(_plain: str, _name: str) -> str:
    message = "Secret values need the secret_key that the workers have"
    raise Refused([Flaw("/secret_env_vars", "no_secret_key", message)])
