"""Logs: as text with ranges, as frames, the tail of them, of one stream or attempt."""

import base64
import json
from typing import Any

import httpx2
import pytest

from reactorcide.api.services import Services
from reactorcide.eventstore.domain.job import Failed
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import Client
from reactorcide.tests.api.test_errors import problem
from reactorcide.tests.api.test_submit import submit
from reactorcide.tests.api.work import Piece

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
async def job_id(services: Services, user: Client) -> str:
    """A job at its second attempt, both of which have printed."""
    made: str = (await submit(user, max_attempts=2, retry_backoff_seconds=0))["job_id"]
    await work.start(services, made)
    await work.say(services, made, Piece(1, b"first try\n"))
    await work.finish(services, made, Failed(1, "exit code 1"))
    await work.start(services, made, 2)
    await work.say(
        services,
        made,
        Piece(1, b"one\ntwo\n", attempt=2),
        Piece(2, b"oops\n", "stderr", 2),
        Piece(3, b"three \xff\xfe\n", attempt=2),
    )
    return made


async def text(client: Client, job_id: str, query: str = "", **headers: str) -> httpx2.Response:
    """Ask for a log."""
    return await client.get(f"/api/v1/jobs/{job_id}/logs{query}", headers=headers)


async def test_a_log_is_empty_before_there_is_any(services: Services, user: Client) -> None:
    """200, queued or running."""
    made = (await submit(user))["job_id"]
    await empty(user, made)
    await work.start(services, made)
    await empty(user, made)


async def empty(client: Client, job_id: str) -> None:
    """Make sure that a log is there and empty, in each form."""
    answer = await text(client, job_id)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    frames = await text(client, job_id, **NDJSON)
    assert (frames.status_code, frames.content) == (200, b"")


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("", b"one\ntwo\noops\nthree \xff\xfe\n"),
        ("?attempt=1", b"first try\n"),
        ("?attempt=3", b""),
        ("?attempt=all", b"first try\none\ntwo\noops\nthree \xff\xfe\n"),
        ("?stream=stderr", b"oops\n"),
        ("?stream=stdout", b"one\ntwo\nthree \xff\xfe\n"),
        ("?attempt=all&stream=stdout", b"first try\none\ntwo\nthree \xff\xfe\n"),
        ("?tail=0", b""),
        ("?tail=1", b"three \xff\xfe\n"),
        ("?tail=3", b"two\noops\nthree \xff\xfe\n"),
        ("?tail=100", b"one\ntwo\noops\nthree \xff\xfe\n"),
        ("?tail=2&stream=stdout", b"two\nthree \xff\xfe\n"),
        ("?tail=1&attempt=1", b"first try\n"),
    ],
)
async def test_a_part_of_a_log(user: Client, job_id: str, query: str, content: bytes) -> None:
    """The latest attempt's at first; bytes as they were printed."""
    answer = await text(user, job_id, query)
    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=0-2", b"one", "bytes 0-2/22"),
        ("bytes=4-", b"two\noops\nthree \xff\xfe\n", "bytes 4-21/22"),
        ("bytes=-3", b"\xff\xfe\n", "bytes 19-21/22"),
        ("bytes=20-99", b"\xfe\n", "bytes 20-21/22"),
        ("bytes=-99", b"one\ntwo\noops\nthree \xff\xfe\n", "bytes 0-21/22"),
        ("bytes=6-9", b"o\noo", "bytes 6-9/22"),
    ],
)
async def test_a_range_of_a_log(
    user: Client, job_id: str, asked: str, content: bytes, told: str
) -> None:
    """206, and where it lies; across the pieces that it was printed in."""
    answer = await text(user, job_id, Range=asked)
    assert (answer.status_code, answer.content) == (206, content)
    assert answer.headers["content-range"] == told


@pytest.mark.parametrize("asked", ["bytes=22-", "bytes=99-100", "bytes=-0"])
async def test_a_range_behind_the_end_is_416(user: Client, job_id: str, asked: str) -> None:
    """And tells how much there is."""
    answer = await text(user, job_id, Range=asked)
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */22"


@pytest.mark.parametrize("asked", ["bytes=", "bytes=5-1", "lines=1-2", "bytes=0-1,3-4", "bytes=-"])
async def test_a_range_that_means_nothing_is_ignored(user: Client, job_id: str, asked: str) -> None:
    """All of it, as RFC 9110 has it."""
    answer = await text(user, job_id, Range=asked)
    assert (answer.status_code, len(answer.content)) == (200, 22)
    assert answer.headers["accept-ranges"] == "bytes"


def frames(answer: httpx2.Response) -> list[dict[str, Any]]:
    """Return the frames of an answer, without their times."""
    found = [json.loads(line) for line in answer.text.splitlines()]
    for frame in found:
        assert frame.pop("at").endswith("Z")
    return found


async def test_a_log_as_frames(user: Client, job_id: str) -> None:
    """One JSON object per piece; what is no UTF-8 comes once more in base64."""
    answer = await text(user, job_id, **NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert frames(answer) == [
        {"seq": 1, "attempt": 2, "stream": "stdout", "data": "one\ntwo\n"},
        {"seq": 2, "attempt": 2, "stream": "stderr", "data": "oops\n"},
        {
            "seq": 3,
            "attempt": 2,
            "stream": "stdout",
            "data": "three \ufffd\ufffd\n",
            "data_base64": base64.b64encode(b"three \xff\xfe\n").decode(),
        },
    ]
    tail = frames(await text(user, job_id, "?tail=2", **NDJSON))
    assert [frame["data"] for frame in tail] == ["oops\n", "three \ufffd\ufffd\n"]
    whole = frames(await text(user, job_id, "?attempt=all&stream=stdout", **NDJSON))
    assert [(frame["attempt"], frame["seq"]) for frame in whole] == [(1, 1), (2, 1), (2, 3)]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("tail=-1", "/tail"),
        ("tail=x", "/tail"),
        ("tail=1000001", "/tail"),
        ("stream=stdin", "/stream"),
        ("attempt=0", "/attempt"),
        ("attempt=-1", "/attempt"),
        ("attempt=last", "/attempt"),
        ("follow=true", "/follow"),
    ],
)
async def test_a_bad_part_is_422(user: Client, job_id: str, query: str, pointer: str) -> None:
    """With a pointer to the parameter."""
    found = problem(await text(user, job_id, f"?{query}"), 422, "invalid_input")
    assert found["errors"][0]["pointer"] == pointer


async def test_a_long_log_comes_whole(services: Services, user: Client) -> None:
    """More than is read at once, in order, and by range."""
    made = (await submit(user))["job_id"]
    await work.start(services, made)
    lines = [b"%06d" % nth * 1000 + b"\n" for nth in range(1500)]
    for start in range(0, 1500, 300):
        pieces = [Piece(start + nth + 1, lines[start + nth]) for nth in range(300)]
        await work.say(services, made, *pieces)
    whole = b"".join(lines)
    assert (await text(user, made)).content == whole
    part = await text(user, made, Range="bytes=1000000-8000000")
    assert part.content == whole[1_000_000:8_000_001]
    assert (await text(user, made, "?tail=3")).content == b"".join(lines[-3:])
