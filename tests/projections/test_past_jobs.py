"""Queues and jobs of the past: what was answered then is answered again, whatever has happened."""

from datetime import datetime
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactorcide.eventstore import store
from reactorcide.eventstore.database import Database, Pool
from reactorcide.eventstore.domain.errors import IllegalTransition
from reactorcide.eventstore.domain.job import TRANSITIONS, Status
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append
from reactorcide.projections import checkpoints, job_lists, moments, past_jobs, queues
from reactorcide.projections.audit_events import SUBSCRIPTION
from reactorcide.projections.job_lists import JobFilter
from reactorcide.projections.moments import TooFarBack, cut_at
from reactorcide.projections.paging import Page
from reactorcide.projections.past_jobs import KEEPS, LEADS, PastFilter
from reactorcide.projections.runner import Runner
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.facts import a_fact
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.histories import ROWS, some_streams
from reactorcide.tests.projections.journal import OWNER, Journal

STATUSES: Final = (None, *(one for one in Status if one not in {Status.NONE, Status.DELETED}))
ROWS_OF_JOBS: Final = ROWS["job"]


async def answers_now(pool: Pool) -> list[Any]:
    """Return what the live lists say, of each status."""
    answers: list[Any] = [await queues.list_page(pool, "", 2, 0)]
    answers += [
        await job_lists.list_page(pool, JobFilter(status=status), Page(limit=3))
        for status in STATUSES
    ]
    return answers


async def answers_at(pool: Pool, moment: int | datetime) -> list[Any]:
    """Return what the same questions are answered of a past moment."""
    cut = await cut_at(pool, moment)
    answers: list[Any] = [await past_jobs.list_queues(pool, cut, "", 2, 0)]
    answers += [
        await past_jobs.list_page(pool, cut, PastFilter(status=status), Page(limit=3))
        for status in STATUSES
    ]
    return answers


def test_each_type_of_event_tells_the_status() -> None:
    """As TRANSITIONS has it: there is no other place that says so."""
    for row_status, row in TRANSITIONS.items():
        for kind, target in row.items():
            stays = row_status if kind.wire_type in KEEPS else None
            assert target is (stays or LEADS.get(kind.wire_type))


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), seed=st.integers(0, 2**32))
async def test_what_was_answered_is_answered_again(
    database: Database, connection: Connection, data: st.DataObject, seed: int
) -> None:
    """At the position and at the time of each step, of all that can happen to jobs."""
    chance = Random(seed)  # noqa: S311  a test's dice
    streams = data.draw(some_streams["job"])
    pool = await database.create_pool(1, 1)
    answered: list[tuple[int, datetime, list[Any]]] = []
    while under_way := [one for one in streams if one.recorded < len(one.events)]:
        one, change = chance.choice(under_way).next(chance.randint(1, 3))
        (appended,) = await store.append(connection, [one], ROWS_OF_JOBS([change]))
        position = appended.position + len(one.events) - 1  # type: ignore[union-attr]  # it held
        answered.append((position, appended.recorded_at, await answers_now(pool)))  # type: ignore[union-attr]
    for position, recorded_at, answers in answered:
        assert await answers_at(pool, position) == answers
        assert await answers_at(pool, recorded_at) == answers
    await pool.close()


async def test_a_time_is_found_in_the_trail_and_behind_it(
    database: Database, connection: Connection
) -> None:
    """Also when events were recorded in another order than their positions have."""
    journal, pool = Journal(connection), await database.create_pool(1, 2)
    other = await database.connect()
    cuts = []
    async with Doorbell(database) as doorbell, Runner(database, doorbell, SUBSCRIPTION):
        await other.execute("BEGIN")
        early = await other.fetchval("SELECT now()")
        await journal.submit()
        before, reached_at = await store.present(pool)
        await Journal(other).submit()
        await other.execute("COMMIT")
        last, _ = await store.present(pool)
        cuts.append((early, await cut_at(pool, early)))
        cuts.append((before, await cut_at(pool, before)))
        cuts.append((last, await cut_at(pool, last)))

        async def is_followed() -> bool:
            return await checkpoints.position(pool, SUBSCRIPTION.name) == last

        await until(is_followed, 30)
    assert [cut.position for _, cut in cuts] == [0, before, last]
    assert cuts[1][1].reached_at == cuts[2][1].reached_at  # the later one was recorded earlier
    assert cuts[0][1].reached_at is None
    assert reached_at > early
    for moment, cut in cuts:
        assert await cut_at(pool, moment) == cut
    await other.close()
    await pool.close()


async def test_pages_of_the_past_go_to_the_end(
    database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job once, however few of a look pass; jobs of later times cost nothing."""
    monkeypatch.setattr(past_jobs, "ROWS_LOOKED_AT", 4)
    journal, pool = Journal(connection), await database.create_pool(1, 2)
    made = [await journal.submit(queue_name="ab"[nth % 3 == 0]) for nth in range(10)]
    position, _ = await store.present(pool)
    for job_id in made[::2]:
        await journal.finish(job_id)
    for _ in range(9):
        await journal.submit()
    cut = await cut_at(pool, position)
    for wanted, expected in (
        (PastFilter(), made),
        (PastFilter(OWNER, Status.QUEUED, "b"), made[::3]),
        (PastFilter(new_id()), []),
        (PastFilter(status=Status.RUNNING), []),
    ):
        seen, page = [], Page(limit=2)
        while True:
            found = await past_jobs.list_page(pool, cut, wanted, page)
            assert found.total is None or wanted.user_id not in {None, OWNER}
            seen += [job.job_id for job in found.rows]
            if found.next_before is None:
                break
            page = Page(limit=2, before=found.next_before)
        assert seen == expected[::-1]
    await pool.close()


async def test_an_event_of_a_newer_version_is_not_passed_over(
    database: Database, connection: Connection
) -> None:
    """A list that left it out would be a guess."""
    job_id, pool = await Journal(connection).submit(), await database.create_pool(1, 2)
    odd = Append("job", job_id, 1, (a_fact("{}", "job.paused"),), SYSTEM)
    await store.append(connection, [odd])
    position, _ = await store.present(pool)
    await Journal(connection).submit()
    cut = await cut_at(pool, position)
    with pytest.raises(IllegalTransition):
        await past_jobs.list_page(pool, cut, PastFilter(), Page())
    again = Append("job", job_id, 2, (a_fact("{}", "job.resumed"),), SYSTEM)
    await store.append(connection, [again])
    with pytest.raises(IllegalTransition):
        await past_jobs.list_queues(pool, cut, "", 9, 0)
    await pool.close()


async def test_what_takes_too_long_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the connection goes on to serve others."""
    pool = await database.create_pool(1, 1)
    monkeypatch.setattr(moments, "_LOOKING_BACK", "SET LOCAL statement_timeout = '10ms'")
    with pytest.raises(TooFarBack):
        async with moments.looking_back(pool) as connection:
            await connection.fetchval("SELECT pg_sleep(60)")
    assert await pool.fetchval("SHOW statement_timeout") == "0"
    await pool.close()
