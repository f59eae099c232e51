"""What a job leaves behind: bytes of WAL and of the log, and dead rows by table, submit to end.

10,000 jobs of a handler that does nothing, through the real appender and a worker's coordinator:
submitted by 500, claimed and ended by 100. Dead rows are those that an UPDATE or DELETE left,
whether or not autovacuum has been there since; a HOT update's are cleared by whoever reads the
page next. The floor is the WAL of bare rows with the data of the events, without an index.
"""

from pathlib import Path
from typing import Any, Final

import asyncpg

from reactorcide.benchmarks.harness import report, run
from reactorcide.eventstore.appender import Appender
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobSubmitted, WorkerRegistered
from reactorcide.eventstore.domain.job import JOB, Completed, SubmitJob
from reactorcide.eventstore.handle import decided
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM
from reactorcide.projections import job_rows
from reactorcide.worker.coordinator import Report
from reactorcide.worker.direct import open_coordinator
from reactorcide.worker.settings import WorkerSettings

_JOBS: Final = 10_000
_WARM: Final = 2_000
_BATCH: Final = 100

_WAL: Final = "SELECT wal_bytes::bigint, wal_fpi FROM pg_stat_wal"
_TABLES: Final = """
SELECT relname, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_hot_upd AS hot,
    n_tup_del AS deleted, n_dead_tup AS dead, autovacuum_count AS vacuums
FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"""
_LOG: Final = """
SELECT pg_table_size('events') AS rows, pg_indexes_size('events') AS indexes"""
_FLOOR: Final = "INSERT INTO floor SELECT event_id, stream_id, data FROM events LIMIT $1"


async def _submit(database: Database, count: int) -> None:
    submitted = JobSubmitted(user_id=new_id(), name="noop", handler="noop", queue_name="bench")
    connection = await database.connect(role=False)
    now = await connection.fetchval("SELECT now()")
    await connection.close()
    command = SubmitJob(submitted, now, waits=False)
    async with Appender(database, job_rows.rows, kind=job_rows.kind_of) as appender:
        for _ in range(0, count, 500):
            units = [decided(JOB, JOB.initial, 0, new_id(), command, SYSTEM) for _ in range(500)]
            await appender.append([unit for unit in units if unit is not None])


async def _work(database: Database, count: int) -> None:
    settings = WorkerSettings("bench", Path("/nonexistent"), ("bench",))
    async with open_coordinator(settings, database, None) as coordinator:
        registered = WorkerRegistered(
            name="bench", hostname="here", pid=1, queues=("bench",), concurrency=_BATCH,
            runner="none", code_version="0",
        )  # fmt: skip
        await coordinator.register(registered)
        done = 0
        while done < count:
            claim = await coordinator.claim(_BATCH)
            ended = Completed(exit_code=None)
            await coordinator.finish_all([Report(one.key, ended) for one in claim.attempts])
            done += len(claim.attempts)


async def _log_size(uri: str) -> dict[str, int]:
    """Return the bytes that the log takes on disk."""
    connection = await asyncpg.connect(uri)
    row = await connection.fetchrow(_LOG)
    await connection.close()
    return dict(row or {})


async def _seen(uri: str) -> tuple[int, int, dict[str, dict[str, int]]]:
    """Return WAL bytes, full pages and the tables' counters: all sessions have flushed theirs."""
    connection = await asyncpg.connect(uri)
    await connection.execute("SELECT pg_stat_force_next_flush()")
    wal_bytes, pages = await connection.fetchrow(_WAL) or (0, 0)
    tables = {row["relname"]: dict(row) for row in await connection.fetch(_TABLES)}
    await connection.close()
    return wal_bytes, pages, tables


async def _floor(uri: str) -> float:
    """Return the WAL bytes of three bare rows, as many as a job has events."""
    connection = await asyncpg.connect(uri)
    await connection.execute("CREATE TABLE floor (event_id uuid, stream_id uuid, data jsonb)")
    before: Any = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
    await connection.execute(_FLOOR, 3 * _JOBS)
    written: int = await connection.fetchval(
        "SELECT (pg_current_wal_insert_lsn() - $1)::bigint", before
    )
    await connection.close()
    return written / _JOBS


async def measure(uri: str) -> None:
    """Let some jobs run that do not count, then count."""
    database = Database(uri)
    await _submit(database, _WARM)
    await _work(database, _WARM)
    wal_before, pages_before, before = await _seen(uri)
    log_before = await _log_size(uri)
    await _submit(database, _JOBS)
    await _work(database, _JOBS)
    wal_after, pages_after, after = await _seen(uri)
    wal: dict[str, Any] = {
        "of": "WAL bytes a job",
        "ours": round((wal_after - wal_before) / _JOBS),
        "floor": round(await _floor(uri)),
        "full pages a job": round((pages_after - pages_before) / _JOBS, 3),
    }
    grown = {
        name: round((size - log_before[name]) / _JOBS)
        for name, size in (await _log_size(uri)).items()
    }
    log = {"of": "log bytes a job", "ours": sum(grown.values()), **grown}
    report("wal", unit="bytes, rows", cases=[wal, log, *_tables(before, after)])


def _tables(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> list[dict[str, Any]]:
    """Return what a job did to each table."""
    none = dict.fromkeys(("inserted", "updated", "hot", "deleted", "dead", "vacuums"), 0)
    cases = []
    for name, counters in sorted(after.items()):
        first = before.get(name, none)
        did = {key: (counters[key] - first[key]) / _JOBS for key in none}
        if did["inserted"] + did["updated"] + did["deleted"] > 0:
            case = {
                "of": name,
                "inserted": round(did["inserted"], 3),
                "updated": round(did["updated"], 3),
                "of these HOT": round(did["hot"], 3),
                "dead": round(did["updated"] + did["deleted"], 3),
                "dead at the end": round(counters["dead"] / _JOBS, 3),
                "vacuums": counters["vacuums"] - first["vacuums"],
            }
            cases.append(case)
    return cases


if __name__ == "__main__":
    run(measure)
