"""Table jobs: rows written with the append equal the fold of the log."""

from reactorcide.eventstore.database import Connection
from reactorcide.eventstore.domain.job import CancelJob, Completed, FinishAttempt, Status
from reactorcide.eventstore.store import read_stream
from reactorcide.projections import jobs
from reactorcide.tests.projections.journal import Journal, now


async def test_a_row_is_what_a_fold_of_the_stream_gives(connection: Connection) -> None:
    """At every step of a job's life, times included."""
    journal = Journal(connection)
    job_id = await journal.submit(labels={"gpu": "yes"}, unique_key="k", job_env_vars={"A": "ä"})
    steps = [await jobs.get(connection, job_id)]
    attempt = await journal.claim(job_id)
    steps.append(await jobs.get(connection, job_id))
    await journal.tell(job_id, CancelJob())
    steps.append(await jobs.get(connection, job_id))
    await journal.tell(job_id, FinishAttempt(attempt, Completed(), now(), 0))
    steps.append(await jobs.get(connection, job_id))
    stream = await read_stream(connection, job_id)
    assert steps == [jobs.fold(stream[:upto]) for upto in (1, 3, 4, 5)]
    assert steps[-1] is not None
    assert steps[-1].state.status is Status.COMPLETED


async def test_the_answer_to_a_command_needs_no_read(connection: Connection) -> None:
    """`after` renders what the table holds."""
    journal = Journal(connection)
    job_id = await journal.submit()
    cancelled = await journal.tell(job_id, CancelJob())
    again = await journal.tell(job_id, CancelJob()) if not cancelled.events else cancelled
    assert jobs.after(again) == await jobs.get(connection, job_id)


async def test_a_result_reads_the_same_from_the_row_and_from_the_log(
    connection: Connection,
) -> None:
    """The column writes JSON with other spaces than the fold."""
    journal = Journal(connection)
    job_id = await journal.submit(handler="mail.send", job_command=None)
    await journal.finish(job_id, Completed({"a": None, "b": [None, 1.5]}, None))
    shown = await jobs.get(connection, job_id)
    assert shown == jobs.fold(await read_stream(connection, job_id))
