"""The client over a line that breaks: nothing twice, nothing missing, and no longer than asked."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from reactorcide.api.client import Job, NotEnded, Unavailable
from reactorcide.api.services import Services
from reactorcide.projections import idempotency
from reactorcide.tests.api import work
from reactorcide.tests.api.calling import KINDS, Caller, Kind, calling
from reactorcide.tests.api.conftest import token_for
from reactorcide.tests.api.cut_line import Line, cut_line
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.test_client import JOB
from reactorcide.tests.api.work import Piece


@pytest.fixture
async def line(services: Services) -> AsyncIterator[Line]:
    """A line to a served API; whole unless a test cuts it."""
    async with serving(services) as url, cut_line(url) as opened:
        yield opened


@pytest.fixture
async def token(services: Services) -> str:
    """A plain user's token."""
    text, _ = await token_for(services, "una")
    return text


@pytest.fixture(params=KINDS)
async def caller(request: pytest.FixtureRequest, line: Line, token: str) -> AsyncIterator[Caller]:
    """A client of each kind, at the far end of the line."""
    async with calling(request.param, line.url, token) as made:
        yield made


async def jobs_of(services: Services) -> int:
    """Return how many jobs there are."""
    count: int = await services.pool.fetchval("SELECT count(*) FROM jobs")
    return count


@pytest.mark.parametrize("cuts", [[0], [60], [0, 0, 300]])
async def test_a_submit_whose_answer_is_lost_makes_one_job(
    services: Services, line: Line, caller: Caller, cuts: list[int]
) -> None:
    """Cut before the answer or inside of it, once or more often: it is sent again, keyed."""
    await line.cut(*cuts)
    job: Job = await caller.call("submit", **JOB)
    assert await services.pool.fetchval("SELECT job_id FROM jobs") == job.job_id
    assert (line.connections, line.cuts) == (len(cuts) + 1, [])


async def test_a_batch_whose_answer_is_lost_is_made_once(
    services: Services, line: Line, caller: Caller
) -> None:
    """All of it."""
    await line.cut(0)
    made: list[Job] = await caller.call("submit_many", [JOB] * 3)
    assert await jobs_of(services) == len({job.job_id for job in made}) == 3


async def test_a_submit_that_is_not_retry_safe_is_sent_once(
    services: Services, line: Line, caller: Caller
) -> None:
    """The caller is told that it is not known whether there is a job."""
    await line.cut(0)
    with pytest.raises(Unavailable):
        await caller.call("submit", **JOB, retry_safe=False)
    assert line.connections == 1
    assert await jobs_of(services) == 1


async def test_after_four_tries_it_is_given_up(
    services: Services, line: Line, caller: Caller
) -> None:
    """And the four made one job."""
    await line.cut(*[0] * 9)
    with pytest.raises(Unavailable):
        await caller.call("submit", **JOB)
    assert line.connections == 4
    assert await jobs_of(services) == 1


async def test_a_submit_waits_for_its_first_sending(
    services: Services, line: Line, caller: Caller
) -> None:
    """The one whose answer was lost may still be under way: then it is asked for again."""
    owner = (await caller.call("me")).user.user_id
    async with services.pool.acquire() as connection, connection.transaction():
        assert await idempotency.try_lock(connection, owner, "k")
        line.requests.clear()
        submitting = asyncio.create_task(caller.call("submit", **JOB, idempotency_key="k"))
        await line.until(lambda line: line.requests.count(b"POST /api/v1/jobs ") >= 2)
    assert (await submitting).status == "queued"


@pytest.mark.parametrize("command", ["cancel", "delete"])
async def test_a_command_whose_answer_is_lost_is_obeyed(
    line: Line, caller: Caller, command: str
) -> None:
    """Sent again it is refused, as it is so already: which is what was asked for."""
    job: Job = await caller.call("submit", **JOB)
    if command == "delete":
        await caller.call("cancel", job.job_id)
    line.requests.clear()
    await line.cut(0)
    done = await caller.call(command, job.job_id)
    assert done is None or done.status == "cancelled"
    assert line.requests.count({"cancel": b"/cancel ", "delete": b"DELETE "}[command]) == 2


async def test_a_retry_is_sent_once(services: Services, line: Line, caller: Caller) -> None:
    """It makes a new job each time: lost is lost."""
    job: Job = await caller.call("submit", **JOB)
    await work.run(services, str(job.job_id))
    await line.cut(0)
    with pytest.raises(Unavailable):
        await caller.call("retry", job.job_id)
    assert await jobs_of(services) == 2


async def test_a_connection_is_kept(line: Line, caller: Caller) -> None:
    """Many calls, one connection."""
    for _ in range(5):
        await caller.call("me")
    assert line.connections == 1


async def test_a_log_that_breaks_off_goes_on_where_it_broke(
    services: Services, line: Line, caller: Caller
) -> None:
    """Cut in the middle of frames, again and again: each piece comes once, in order."""
    job_id: UUID = (await caller.call("submit", **JOB)).job_id
    await work.start(services, str(job_id))
    pieces = [Piece(nth, b"line %d\n" % nth) for nth in range(1, 31)]
    await work.say(services, str(job_id), *pieces)
    await line.cut(700, 333, 0, 1200, 450)
    following = asyncio.create_task(caller.items("follow_logs", job_id))
    await line.until(lambda line: b"Last-Event-ID: 1-" in line.requests)
    await work.say(services, str(job_id), Piece(31, b"line 31\n"))
    await work.finish(services, str(job_id))
    frames = await following
    assert [frame.data for frame in frames] == [b"line %d\n" % nth for nth in range(1, 32)]


async def test_a_wait_goes_on_over_a_broken_line(
    services: Services, line: Line, caller: Caller
) -> None:
    """It ends when the job does."""
    job_id: UUID = (await caller.call("submit", **JOB)).job_id
    await line.cut(0, 250, 0)
    waiting = asyncio.create_task(caller.call("wait", job_id, timeout_seconds=20))
    await line.until(lambda line: line.connections >= 4)
    await work.run(services, str(job_id))
    assert (await waiting).status == "completed"


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_at_the_address_is_unavailable(kind: Kind, token: str) -> None:
    """Within the timeout, for calls, streams and waits."""
    async with calling(kind, "http://127.0.0.1:1", token, timeout_seconds=0.3) as caller:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable):
            await caller.call("me")
        with pytest.raises(Unavailable):
            await caller.items("follow_logs", UUID(int=1))
        with pytest.raises(NotEnded):
            await caller.call("wait", UUID(int=1), timeout_seconds=0.1)
        assert asyncio.get_running_loop().time() - began < 5


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_says_nothing_is_unavailable(kind: Kind, token: str) -> None:
    """After the timeout, all tries together."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, calling(kind, f"http://127.0.0.1:{port}", token, 0.5) as caller:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="no answer in time"):
            await caller.call("me")
        assert asyncio.get_running_loop().time() - began < 2
