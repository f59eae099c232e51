"""Whatever lawful history is appended, in whatever batches: every table is what a replay gives."""

from random import Random
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.record import StreamType
from reactorcide.projections.projection import REGISTRY, Projection
from reactorcide.projections.verify import verify
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.histories import record, some_streams

_LEASES_OF_NOBODY: Final = """
SELECT job_id FROM jobs WHERE (lease_until IS NOT NULL) <> (status IN ('claimed', 'running'))"""
_MISCOUNTED: Final = """
SELECT * FROM (
    SELECT queue_name, status, sum(jobs) AS jobs FROM (
        SELECT queue_name, status, jobs FROM queue_counts
        UNION ALL SELECT queue_name, status, jobs FROM queue_changes
    ) AS noted GROUP BY queue_name, status HAVING sum(jobs) <> 0
) AS noted
FULL JOIN (
    SELECT queue_name, status, count(*) AS jobs FROM jobs
    WHERE status IN ('submitted', 'queued', 'claimed', 'running') GROUP BY queue_name, status
) AS counted USING (queue_name, status, jobs)
WHERE noted.jobs IS NULL OR counted.jobs IS NULL"""


@pytest.mark.parametrize("projection", REGISTRY, ids=lambda one: one.name)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), seed=st.integers(0, 2**32))
async def test_a_table_equals_the_replay(
    database: Database,
    connection: Connection,
    projection: Projection,
    data: st.DataObject,
    seed: int,
) -> None:
    """Key by key and column by column, times included; leases and counts are right too."""
    kind: StreamType = projection.stream_type
    streams = data.draw(some_streams[kind])
    await record(connection, streams, Random(seed))  # noqa: S311  a test's dice
    seen = await verify(database, projection, lambda _done, _total: None)
    assert seen.differences == ()
    assert seen.rows >= len(streams)
    assert await connection.fetch(_LEASES_OF_NOBODY) == []
    assert await connection.fetch(_MISCOUNTED) == []
