"""Artifacts over HTTP: seen by whom the job is seen, sent as they are, harmless to a browser."""

import hashlib
import re
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from reactorcide.api.client import Artifact, Forbidden, Job, NotFound, Unavailable
from reactorcide.api.services import Services, open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.eventstore.domain.job import Failed
from reactorcide.projections import shared_store
from reactorcide.projections.object_upkeep import store_logs, sweep
from reactorcide.tests.api import work
from reactorcide.tests.api.calling import KINDS, Kind, calling
from reactorcide.tests.api.conftest import Client, Place, client_of, token_for
from reactorcide.tests.api.cut_line import cut_line
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit
from reactorcide.tests.api.work import Piece
from reactorcide.tests.worker.jobs_at_work import eventually

FILES = {
    'a/b/naïve ☃ "100%".txt': b"one two three",
    "empty": b"",
    "index.html": b"<script>alert(1)</script>",
    "large": bytes(range(256)) * 12_000,
}


@pytest.fixture
async def job_id(services: Services, user: Client) -> str:
    """A job that has left some files."""
    made: str = (await submit(user))["job_id"]
    await work.start(services, made)
    await work.leave(services, made, FILES)
    await work.finish(services, made)
    return made


def at(job_id: str, path: str = "") -> str:
    """Return where a job's artifacts are."""
    return f"/api/v1/jobs/{job_id}/artifacts{path}"


async def test_artifacts_are_listed_by_path(user: Client, job_id: str) -> None:
    """With size and digest; a job that left none has an empty list."""
    answer = await user.get(at(job_id))
    assert answer.json() == {
        "artifacts": [
            {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in sorted(FILES.items())
        ]
    }
    other = (await submit(user))["job_id"]
    assert (await user.get(at(other))).json() == {"artifacts": []}


async def test_a_file_comes_as_it_was_left(user: Client, job_id: str) -> None:
    """To be saved, not to be looked at; with its digest as ETag."""
    for path, content in FILES.items():
        url = httpx2.URL("http://api").copy_with(path=at(job_id, f"/{path}"))
        for method, sent in (("GET", content), ("HEAD", b"")):
            answer = await user.request(method, url)
            assert (answer.status_code, answer.content) == (200, sent)
            headers = answer.headers
            assert headers["content-length"] == str(len(content))
            assert headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
            assert headers["content-type"] == "application/octet-stream"
            assert headers["content-disposition"].startswith("attachment; filename=")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("sandbox")
    odd = httpx2.URL("http://api").copy_with(path=at(job_id, f"/{next(iter(FILES))}"))
    told = (await user.get(odd)).headers["content-disposition"]
    assert "filename*=UTF-8''na%C3%AFve%20%E2%98%83%20%22100%25%22.txt" in told
    assert re.search(r'filename="na_ve _ _100__.txt"', told)


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ({"Range": "bytes=256-259"}, 206, bytes(range(4))),
        ({"Range": "bytes=-2"}, 206, b"\xfe\xff"),
        ({"Range": "bytes=99999999-"}, 416, None),
        ({"Range": "bytes=1-2", "If-Range": '"another"'}, 200, FILES["large"]),
    ],
)
async def test_a_part_of_a_file_can_be_asked_for(
    user: Client, job_id: str, asked: dict[str, str], status: int, content: bytes | None
) -> None:
    """By bytes; of this very file, where that is said."""
    answer = await user.get(at(job_id, "/large"), headers=asked)
    assert answer.status_code == status
    if content is None:
        problem(answer, 416, "range_not_satisfiable")
    else:
        assert answer.content == content


async def test_who_has_a_file_is_not_sent_it_again(user: Client, job_id: str) -> None:
    """304."""
    tag = (await user.get(at(job_id, "/large"))).headers["etag"]
    answer = await user.get(at(job_id, "/large"), headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")


async def test_what_is_unknown_or_anothers_is_404(
    user: Client, stranger: Client, auditor: Client, job_id: str
) -> None:
    """All alike; who sees every job sees its artifacts."""
    for client, path in (
        (user, at(job_id, "/nothing")),
        (user, at(job_id, "/")),
        (user, at(job_id, "/a")),
        (user, at(job_id, "/..%2f..%2fsecret")),
        (user, at(job_id, "/a%00b")),
        (user, at(job_id, "/large?attempt=2")),
        (user, at("01a206a8-46fc-7326-bab1-198d7d8766fd")),
        (user, at("no-id", "/large")),
        (stranger, at(job_id)),
        (stranger, at(job_id, "/large")),
    ):
        problem(await client.get(path), 404, "not_found")
    assert (await auditor.get(at(job_id, "/large"))).content == FILES["large"]
    found = problem(await user.get(at(job_id, "?attempt=0")), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == "/attempt"


async def test_artifacts_need_their_scope(services: Services, job_id: str) -> None:
    """artifacts:read, and no other."""
    for scope, status in (("artifacts:read", 200), ("logs:read", 403), ("jobs:read", 403)):
        token, _ = await token_for(services, "una", scopes=(scope,))
        async with client_of(services, token) as client:
            for path in (at(job_id), at(job_id, "/empty")):
                assert (await client.get(path)).status_code == status


async def test_each_attempt_has_its_own(services: Services, user: Client) -> None:
    """The latest that left any is shown, unless another is named."""
    made = (await submit(user, max_attempts=3, retry_backoff_seconds=0))["job_id"]
    for attempt in (1, 2, 3):
        await work.start(services, made, attempt)
        if attempt < 3:
            await work.leave(services, made, {"file": b"%d" % attempt}, attempt)
        await work.finish(services, made, Failed(1, "exit code 1"), attempt)
    assert (await user.get(at(made, "/file"))).content == b"2"
    assert (await user.get(at(made, "/file?attempt=1"))).content == b"1"
    assert (await user.get(at(made, "?attempt=3"))).json() == {"artifacts": []}


async def test_a_store_that_cannot_be_read_is_503(settings: ApiSettings, job_id: str) -> None:
    """Not an empty file, and not a defect of ours."""
    async with open_services(replace(settings, object_store_url="memory://")) as other:
        token, _ = await token_for(other, "una")
        async with client_of(other, token) as client:
            problem(await client.get(at(job_id, "/large")), 503, "unavailable")


async def test_a_job_says_where_its_log_and_artifacts_lie(services: Services, user: Client) -> None:
    """Null until there is one; in each answer that shows the job."""
    made = (await submit(user))["job_id"]
    await work.start(services, made)
    await work.say(services, made, *(Piece(nth, b"line\n") for nth in range(1, 17)))

    async def keys() -> list[tuple[Any, Any]]:
        one = (await user.get(f"/api/v1/jobs/{made}")).json()
        (listed,) = (await user.get("/api/v1/jobs")).json()["jobs"]
        return [(job["logs_object_key"], job["artifacts_object_key"]) for job in (one, listed)]

    assert await keys() == [(None, None)] * 2
    await work.leave(services, made, {"file": b"x"})
    prefix = f"jobs/{made}/1"
    assert await keys() == [(None, f"{prefix}/artifacts")] * 2
    await work.finish(services, made)
    assert await store_logs(services.pool, services.objects) == 1
    for log, _ in await keys():
        assert re.fullmatch(rf"{prefix}/log-[0-9a-f]{{8}}\.ndjson\.gz", log)
        assert log in await services.objects.keys(prefix)


async def test_a_deleted_job_takes_its_log_and_artifacts_along(
    services: Services, user: Client, job_id: str
) -> None:
    """Soon after; a job that may not be deleted keeps them."""
    running = (await submit(user))["job_id"]
    await work.start(services, running)
    await work.leave(services, running, {"file": b"x"})
    assert (await user.delete(f"/api/v1/jobs/{running}")).status_code == 409
    assert (await user.delete(f"/api/v1/jobs/{job_id}")).status_code == 204
    problem(await user.get(at(job_id, "/large")), 404, "not_found")
    await sweep(services.pool, services.objects, left_seconds=0)
    assert await services.objects.keys("jobs") == [f"jobs/{running}/1/artifacts/0"]
    assert (await user.get(at(running, "/file"))).content == b"x"


async def test_a_log_reads_the_same_over_http(services: Services, user: Client) -> None:
    """Text, parts, tails, frames, and followed: before and after it became an object."""
    made = (await submit(user, max_attempts=2, retry_backoff_seconds=0))["job_id"]
    for attempt in (1, 2):
        await work.start(services, made, attempt)
        pieces = [
            Piece(nth, b"%d:\xff\0\n" % nth * nth, "stderr" if nth % 3 == 0 else "stdout", attempt)
            for nth in range(1, 40)
        ]
        await work.say(services, made, *pieces)
        await work.finish(services, made, Failed(1, "exit code 1"), attempt)

    async def readings() -> list[tuple[int, bytes]]:
        seen = []
        for query in ("", "?attempt=1", "?attempt=all", "?stream=stderr", "?attempt=all&tail=50"):
            for headers in (
                {},
                {"Range": "bytes=1000-4000"},
                {"Accept": "application/x-ndjson"},
                {"Accept": "text/event-stream"},
                {"Accept": "text/event-stream", "Last-Event-ID": "1-20"},
            ):
                path = f"/api/v1/jobs/{made}/logs{query}"
                answer = await user.get(path, headers=headers)
                seen.append((answer.status_code, answer.content))
        return seen

    before = await readings()
    assert await store_logs(services.pool, services.objects) == 2
    assert await services.pool.fetchval("SELECT count(*) FROM log_chunks") == 0
    assert await readings() == before
    assert {status for status, _ in before} == {200, 206}


@pytest.mark.parametrize("store_url", ["directory"], indirect=True)
async def test_the_api_says_which_store_is_the_one(settings: ApiSettings, store_url: str) -> None:
    """At its start, in the background: workers with another one are told."""
    async with open_services(replace(settings, object_store_url=store_url)) as services:
        identity = await services.objects.identity()

        async def known() -> bool:
            return await shared_store.known(services.pool) == identity

        await eventually(known)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_lists_and_downloads(kind: Kind, place: Place, job_id: str) -> None:
    """Every file, whatever its name; what is not there is NotFound."""
    async with calling(kind, place.url, place.token) as caller:
        listed: tuple[Artifact, ...] = await caller.call("artifacts", job_id)
        assert [one.path for one in listed] == sorted(FILES)
        for one in listed:
            pieces = await caller.items("download", job_id, one.path)
            assert b"".join(pieces) == FILES[one.path]
        with pytest.raises(NotFound):
            await caller.items("download", job_id, "nothing")
        job: Job = await caller.call("get", job_id)
        assert job.artifacts_object_key == f"jobs/{job_id}/1/artifacts"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_goes_on_where_a_download_broke(
    kind: Kind, place: Place, job_id: str
) -> None:
    """Once or twice; when it always breaks at the same place, it gives up."""
    async with (
        cut_line(place.url, [1_000_000, 500_000]) as line,
        calling(kind, line.url, place.token) as caller,
    ):
        pieces = await caller.items("download", job_id, "large")
        assert b"".join(pieces) == FILES["large"]
        assert line.connections == 3
        await line.cut(0, 0, 0, 0, 0)
        with pytest.raises(Unavailable):
            await caller.items("download", job_id, "large")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_client_says_what_its_token_lacks(
    kind: Kind, services: Services, place: Place, job_id: str
) -> None:
    """As with every other call."""
    token, _ = await token_for(services, "una", scopes=("jobs:read",))
    async with calling(kind, place.url, token) as caller:
        with pytest.raises(Forbidden):
            await caller.call("artifacts", job_id)
