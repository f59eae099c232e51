"""A projection that meets an event it does not know stops there, and says so."""

from dataclasses import replace

import structlog

from reactorcide.eventstore.database import (
    Database,
)
from reactorcide.projections import checkpoints
from reactorcide.projections.audit_events import SUBSCRIPTION
from reactorcide.projections.subscription import UnknownType, advance
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.waiting import until
from reactorcide.tests.projections.test_runner import (
    LOG,
    NAME,
    TESTING,
    all_taken,
    appended,
    positions,
    running,
    standing,
)


async def test_an_unknown_event_stops_the_projection_there(
    database: Database, connection: Connection
) -> None:
    """What is before it is taken, nothing behind it, and all who ask are told why."""
    await appended(connection, "job.queued")
    await appended(connection, "job.teleported")
    await appended(connection, "job.queued")
    before, unknown, _ = await positions(connection, LOG)
    with structlog.testing.capture_logs() as logged:
        async with running(database, SUBSCRIPTION):

            async def is_told() -> bool:
                return any(line["event"] == "projection_stopped" for line in logged)

            await until(is_told)
    (line,) = [line for line in logged if line["event"] == "projection_stopped"]
    assert (line["position"], line["wire_type"]) == (unknown, "job.teleported")
    assert await positions(connection) == [before]
    found = await standing(connection)
    assert (found.position, found.stopped_position, found.stopped_type) == (
        before,
        unknown,
        "job.teleported",
    )
    assert found.why.startswith(f"stopped: the event job.teleported at position {unknown} ")


async def test_a_newer_version_goes_on_where_an_older_one_stopped(
    database: Database, connection: Connection
) -> None:
    """The older one lets go of the lock, though it runs on."""
    await appended(connection, "job.teleported")
    newer = replace(TESTING, known_types=TESTING.known_types | {"job.teleported"})

    async def is_stopped() -> bool:
        return (await standing(connection)).stopped_type == "job.teleported"

    async with running(database, SUBSCRIPTION):
        await until(is_stopped)
        async with running(database, newer):
            await until(lambda: all_taken(connection), 10)
            assert (await standing(connection)).stopped_position is None


async def test_an_unknown_event_in_the_middle_of_a_batch_ends_it(
    database: Database, connection: Connection
) -> None:
    """By the step itself: what it returns names the event."""
    for wire_type in ("job.queued", "job.queued", "job.teleported"):
        await appended(connection, wire_type)
    first, second, unknown = await positions(connection, LOG)
    async with checkpoints.session(database) as session:
        await checkpoints.take(session, NAME)
        assert (await advance(session, SUBSCRIPTION, 1)).position == first
        stopped = (await advance(session, SUBSCRIPTION)).stopped_by
        assert stopped == UnknownType(unknown, "job.teleported")
    assert await positions(connection) == [first, second]
