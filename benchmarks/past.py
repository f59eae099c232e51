"""Looking back into a log of 1,000,000 events: the queues, and a page of jobs, as of once.

In seconds; the floor is the list as it stands now. BENCH_EVENTS makes the log shorter or longer.
"""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from reactorcide.benchmarks.harness import Pair, interleave, report, rounded, run
from reactorcide.benchmarks.history import fill
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.job import Status
from reactorcide.projections import audit_events, job_lists, past_jobs, queues
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.moments import cut_at
from reactorcide.projections.paging import Page
from reactorcide.projections.past_jobs import PastFilter
from reactorcide.projections.projection import named
from reactorcide.projections.rebuild import rebuild
from reactorcide.projections.subscription import EVENTS_EACH

_EVENTS: Final = int(os.environ.get("BENCH_EVENTS", "1000000"))
_ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "3"))
_SHARES: Final = (0.01, 0.1, 0.5, 1.0)
"""Of the log that came after the moment."""
_COUNTS: Final = """
INSERT INTO queue_counts SELECT queue_name, status, count(*) FROM jobs
WHERE status IN ('submitted', 'queued', 'claimed', 'running') GROUP BY queue_name, status"""
_FOLLOWED: Final = "INSERT INTO checkpoints (name, position) VALUES ('audit_events', $1)"


def _seconds(operation: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    async def one_round() -> float:
        start = time.perf_counter()
        await operation()
        return time.perf_counter() - start

    return one_round


async def _case(pool: Pool, position: int, share: float) -> list[dict[str, Any]]:
    async def past_queues() -> None:
        await past_jobs.list_queues(pool, await cut_at(pool, position), "", 50, 0)

    def past_list(wanted: PastFilter) -> Callable[[], Awaitable[float]]:
        async def one() -> None:
            await past_jobs.list_page(pool, await cut_at(pool, position), wanted, Page())

        return _seconds(one)

    def listed(status: Status | None) -> Callable[[], Awaitable[float]]:
        return _seconds(lambda: job_lists.list_page(pool, JobFilter(status=status), Page()))

    pairs: dict[str, Pair] = {
        "queues": await interleave(
            _seconds(past_queues), _seconds(lambda: queues.list_page(pool, "", 50, 0)), _ROUNDS
        ),
        "jobs": await interleave(past_list(PastFilter()), listed(None), _ROUNDS),
        "running jobs": await interleave(
            past_list(PastFilter(status=Status.RUNNING)), listed(Status.RUNNING), _ROUNDS
        ),
    }
    since = round(_EVENTS * share)
    return [
        rounded(pair, list=name, events_since=since)
        | {"ours": round(pair.ours, 3), "floor": round(pair.floor, 4)}
        for name, pair in pairs.items()
    ]


async def measure(uri: str) -> None:
    """Fill the log and its tables, then look back from further and further away."""
    await fill(uri, _EVENTS)
    database = Database(uri)
    await rebuild(database, named("jobs"), lambda _done, _total: None)
    connection = await database.connect(role=False, jit="off")
    last: int = await connection.fetchval("SELECT max(position) FROM events")
    for after in range(0, last, EVENTS_EACH):
        await audit_events.SUBSCRIPTION.write(connection, after, min(after + EVENTS_EACH, last))
    await connection.execute(_FOLLOWED, last)
    await connection.execute(_COUNTS)
    await connection.execute("VACUUM (ANALYZE)", timeout=300)
    pool = await database.create_pool(1, 2)
    cases = [one for share in _SHARES for one in await _case(pool, last - int(last * share), share)]
    report("past", unit="seconds", cases=cases)
    await pool.close()
    await connection.close()


if __name__ == "__main__":
    run(measure)
