"""Submitting without HTTP: the same jobs, limits and refusals, through the real database."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from reactorcide.api.direct import (
    JobFields,
    JobRequest,
    Refused,
    Submitter,
    submit_all_in,
    submit_in,
)
from reactorcide.eventstore.database import Connection, Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.sealing import Sealer
from reactorcide.projections import jobs
from reactorcide.projections.jobs import Job

USER = uuid4()
KEY = bytes(range(32))

PAGE: Final = (Path(__file__).parents[2] / "docs" / "submitting.md").read_text("utf-8")
EXAMPLES: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def submitter(database_uri: str) -> AsyncIterator[Submitter]:
    """A submitter of one user."""
    async with Submitter(database_uri, USER, secret_key=KEY) as opened:
        yield opened


async def job_of(connection: Connection, job_id: UUID) -> Job:
    """Return a job that is there."""
    job = await jobs.get(connection, job_id)
    assert job is not None
    return job


async def count(connection: Connection) -> int:
    """Return how many jobs the log knows."""
    return int(await connection.fetchval("SELECT count(DISTINCT stream_id) FROM events"))


async def test_a_submitted_job_is_there_at_once(
    submitter: Submitter, connection: Connection
) -> None:
    """It belongs to the submitter's user and is called after its handler."""
    job = await job_of(connection, await submitter.submit(handler="mail.send", args={"to": [1]}))
    assert job.submitted.user_id == USER
    assert (job.submitted.name, job.submitted.args) == ("mail.send", {"to": [1]})
    assert job.state.status == "queued"


async def test_every_field_arrives(submitter: Submitter, connection: Connection) -> None:
    """As the API takes it: times and ids may be Python's own, None says nothing."""
    other = await submitter.submit("first", job_command="true", labels=None)
    run_at = datetime(2099, 1, 2, tzinfo=UTC)
    job_id = await submitter.submit(
        "all",
        job_command="make",
        source_type="git",
        git_url="https://example.org/a.git",
        code_dir="/job/code",
        job_env_vars={"A": "plain", "B": "hidden"},
        secret_env_vars=["B"],
        run_at=run_at,
        depends_on=(other,),
        labels={"k": "v"},
    )
    submitted = (await job_of(connection, job_id)).submitted
    assert submitted.run_at == run_at
    assert submitted.depends_on == (other,)
    assert submitted.job_dir == "/job/code"
    assert submitted.job_env_vars == {"A": "plain"}
    assert Sealer(KEY).open(submitted.sealed_env_vars["B"], "B") == "hidden"


def test_what_may_be_said_is_what_the_api_takes() -> None:
    """The typed arguments are the request's fields, every one."""
    assert {"name", *JobFields.__annotations__} == set(JobRequest.model_fields)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "/job_command"),
    ({"handler": "no spaces"}, "/handler"),
    ({"handler": "a", "job_command": "b"}, "/job_command"),
    ({"handler": "a", "priority": "1"}, "/priority"),
    ({"handler": "a", "unknown": 1}, "/unknown"),
    ({"handler": "a", "args": "\0"}, "/args"),
    ({"handler": "a", "args": {"n": float("nan")}}, "/args/n"),
    ({"handler": "a", "args": 2**70}, "/args"),
    ({"handler": "a", "args": "x" * 300_000}, "/args"),
    ({"handler": "a", "args": object()}, ""),
    ({"handler": "a", "args": "\ud800"}, ""),
    ({"handler": "a", "run_at": datetime(2030, 1, 1)}, "/run_at"),  # noqa: DTZ001  no offset
    ({"handler": "a", "depends_on": [uuid4()]}, "/depends_on/0"),
    ({"job_command": "git", "source_type": "git"}, "/git_url"),
]


@pytest.mark.parametrize(("fields", "pointer"), REFUSED)
async def test_what_the_api_refuses_is_refused(
    submitter: Submitter, connection: Connection, fields: dict[str, Any], pointer: str
) -> None:
    """With a pointer to the field and a message, and nothing is written."""
    with pytest.raises(Refused) as refused:
        await submitter.submit(**fields)
    assert refused.value.pointer == pointer
    assert refused.value.message in str(refused.value)
    assert await count(connection) == 0


async def test_secrets_need_the_key(database_uri: str) -> None:
    """A submitter without one refuses them, it does not write them down."""
    async with Submitter(database_uri, USER) as without:
        with pytest.raises(Refused) as refused:
            await without.submit(job_command="a", job_env_vars={"A": "abcd"}, secret_env_vars=["A"])
    assert refused.value.pointer == "/secret_env_vars"


async def test_one_refused_among_sixteen_leaves_the_others_alone(
    submitter: Submitter, connection: Connection
) -> None:
    """Tasks of one loop share the statements, not the refusals."""
    handlers = ["a"] * 7 + ["no spaces"] + ["a"] * 8
    answers = await asyncio.gather(
        *(submitter.submit(handler=handler) for handler in handlers), return_exceptions=True
    )
    assert [type(answer) is Refused for answer in answers] == [h != "a" for h in handlers]
    ids = {answer for answer in answers if isinstance(answer, UUID)}
    assert len(ids) == await count(connection) == 15


async def test_an_active_job_keeps_its_unique_key(
    submitter: Submitter, connection: Connection
) -> None:
    """Of many submits with one key, at once or later, one is made and all get its id."""
    ids = await asyncio.gather(
        *(submitter.submit(handler="a", unique_key="nightly") for _ in range(8))
    )
    ids += await submitter.submit_many([{"handler": "a", "unique_key": "nightly"}] * 2)
    assert len(set(ids)) == await count(connection) == 1


async def test_many_jobs_keep_their_order(submitter: Submitter, connection: Connection) -> None:
    """Their ids are in the order asked for; fields and requests may be mixed."""
    asked = [
        JobRequest(name=str(nth), handler="a") if nth % 2 else {"name": str(nth), "handler": "a"}
        for nth in range(1001)
    ]
    ids = await submitter.submit_many(iter(asked))
    found = await jobs.get_many(connection, ids)
    assert [found[job_id].submitted.name for job_id in ids] == [str(nth) for nth in range(1001)]
    assert await submitter.submit_many([]) == []


async def test_a_refused_job_is_pointed_at_among_many(
    submitter: Submitter, connection: Connection
) -> None:
    """By its number in the whole call; nothing of its chunk is written."""
    asked: list[dict[str, Any]] = [{"handler": "a"} for _ in range(600)]
    asked[510] = {"handler": "a", "args": "\0"}
    with pytest.raises(Refused) as refused:
        await submitter.submit_many(asked)
    assert refused.value.pointer == "/510/args"
    assert await count(connection) in {0, 500}
    asked[510] = {"handler": "a", "depends_on": [uuid4()]}
    with pytest.raises(Refused) as refused:
        await submitter.submit_many(asked)
    assert refused.value.pointer == "/510/depends_on/0"


async def test_what_goes_wrong_in_the_callers_list_is_the_callers(submitter: Submitter) -> None:
    """It comes out as it was raised."""

    def broken() -> Any:
        yield {"handler": "a"}
        raise LookupError

    with pytest.raises(LookupError):
        await submitter.submit_many(broken())


async def test_whoever_waits_for_jobs_is_woken(submitter: Submitter, database: Database) -> None:
    """A doorbell elsewhere hears each way of submitting, after the commit."""
    mine = await database.connect()
    async with Doorbell(database, ["jobs"]) as doorbell:
        with doorbell.listen("jobs") as listener:
            await submitter.submit(handler="a")
            assert await listener.wait(10)
            await submitter.submit_many([{"handler": "a"}])
            assert await listener.wait(10)
            async with mine.transaction():
                await submit_in(mine, user_id=USER, handler="a")
                assert not await listener.wait(0.1)
            assert await listener.wait(10)
    await mine.close()


async def test_a_job_is_there_when_the_callers_transaction_commits(
    database_uri: str, connection: Connection
) -> None:
    """Not before, and with what else it wrote; a plain connection is enough."""
    mine = await asyncpg.connect(database_uri)
    await mine.execute("CREATE TABLE orders (job_id uuid)")
    async with mine.transaction():
        job_id = await submit_in(mine, user_id=USER, handler="order.ship", args={"order": 1})
        await mine.execute("INSERT INTO orders VALUES ($1)", job_id)
        assert await jobs.get(connection, job_id) is None
    assert await connection.fetchval("SELECT job_id FROM orders") == job_id
    assert (await job_of(connection, job_id)).state.status == "queued"
    await mine.close()


async def test_a_job_is_gone_when_the_callers_transaction_rolls_back(
    connection: Connection,
) -> None:
    """With its events: it never was."""
    transaction = connection.transaction()
    await transaction.start()
    first = await submit_in(connection, user_id=USER, handler="a", unique_key="k")
    assert await submit_in(connection, user_id=USER, handler="a", unique_key="k") == first
    await submit_in(connection, user_id=USER, handler="b", depends_on=[first])
    await transaction.rollback()
    assert await count(connection) == 0


async def test_a_refused_job_leaves_the_callers_transaction_usable(connection: Connection) -> None:
    """Refusals come before anything is written."""
    async with connection.transaction():
        with pytest.raises(Refused):
            await submit_in(connection, user_id=USER, handler="a", depends_on=[uuid4()])
        job_id = await submit_in(connection, user_id=USER, handler="a")
    await job_of(connection, job_id)


async def test_all_or_none_without_a_transaction(connection: Connection) -> None:
    """A call is one commit by itself."""
    asked: list[dict[str, Any]] = [{"handler": "a"}, {"handler": "b", "depends_on": [uuid4()]}]
    with pytest.raises(Refused) as refused:
        await submit_all_in(connection, asked, user_id=USER)
    assert refused.value.pointer == "/1/depends_on/0"
    assert await count(connection) == 0
    assert await submit_all_in(connection, [], user_id=USER) == []
    ids = await submit_all_in(connection, asked[:1] * 3, user_id=USER)
    assert len(ids) == len(set(ids)) == 3


async def test_a_connection_that_writes_json_its_own_way_is_refused(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    """An event would be kept as a text of JSON, which nobody can read back."""
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    with pytest.raises(TypeError, match="jsonb"):
        await submit_in(connection, user_id=USER, handler="a")


@pytest.mark.parametrize(
    ("example", "said"), [*zip(EXAMPLES, ("shipped by", "refused: /handler"), strict=True)]
)
async def test_an_example_of_the_page_runs(
    database_uri: str, connection: Connection, example: str, said: str
) -> None:
    """As it stands, in a program of its own."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        example,
        env={**os.environ, "REACTORCIDE_DB_URI": database_uri, "REACTORCIDE_USER_ID": str(USER)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()
    assert said in output.decode()
    assert await count(connection) in {1, 4}
