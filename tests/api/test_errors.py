"""Every refusal has the one shape, the right code and the right headers."""

from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from reactorcide.api.edge import RequestEdge
from reactorcide.api.metrics import Metrics
from reactorcide.api.services import Services
from reactorcide.tests.api.conftest import JOB, Client

PROBLEM = {"type", "title", "status", "detail", "instance", "error", "message", "request_id"}
NO_ID = "/api/v1/jobs/00000000-0000-0000-0000-000000000000"


def problem(answer: httpx2.Response, status: int, error: str) -> dict[str, Any]:
    """Return the problem in an answer, having checked its shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body.keys() >= PROBLEM
    assert (body["status"], body["error"]) == (status, error)
    assert body["message"] == body["detail"]
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    return body


async def test_an_unknown_path_is_404_with_and_without_a_token(
    anonymous: Client, user: Client
) -> None:
    """Whoever asks, it is not there."""
    for client in (anonymous, user):
        for path in ("/", "/nothing", "/api/v1/nothing", "/api/v1/jobs/", "/api/v2/jobs"):
            problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "Missing Authorization header"),
        ("", "Invalid Authorization header format"),
        ("Bearer", "Invalid Authorization header format"),
        ("Bearer ", "Invalid Authorization header format"),
        ("Bearer a b", "Invalid Authorization header format"),
        ("Basic dXNlcjpwYXNz", "Invalid Authorization header format"),
        ("Bearer nonsense", "Invalid or expired token"),
        ("Bearer rct_000000000000000000000000000000000000", "Invalid or expired token"),
    ],
)
async def test_a_token_that_does_not_hold_is_401_with_its_text(
    anonymous: Client, header: str | None, message: str
) -> None:
    """One of three texts, and how to authenticate."""
    headers = {} if header is None else {"Authorization": header}
    answer = await anonymous.get("/api/v1/jobs", headers=headers)
    assert problem(answer, 401, "unauthorized")["message"] == message
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_wrong_method_is_405_and_says_what_is_allowed(user: Client) -> None:
    """One path, all its methods."""
    for path, allow in {
        "/api/v1/jobs": "GET, HEAD, POST",
        "/api/v1/jobs/batch": "POST",
        NO_ID: "DELETE, GET, HEAD",
        f"{NO_ID}/cancel": "POST, PUT",
    }.items():
        answer = await user.request("PATCHY", path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allow


async def test_a_wrong_method_is_401_first_where_a_token_is_needed(anonymous: Client) -> None:
    """Nobody learns the methods of a protected path; those of an open one, everybody."""
    problem(await anonymous.put("/api/v1/jobs"), 401, "unauthorized")
    problem(await anonymous.put("/livez"), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["", "/events", "/explain", "/logs"])
@pytest.mark.parametrize("job_id", ["00000000-0000-0000-0000-000000000000", "7", "%00", "{0}"])
async def test_unknown_and_malformed_ids_are_404_alike(
    user: Client, path: str, job_id: str
) -> None:
    """An id that is no UUID is just another unknown one."""
    answer = await user.get(f"/api/v1/jobs/{job_id}{path}")
    assert problem(answer, 404, "not_found")["detail"] == "No such job"


@pytest.mark.parametrize(
    ("body", "status", "error", "pointer"),
    [
        (b"", 400, "malformed_request", ""),
        (b"{", 400, "malformed_request", ""),
        (b"\xff{}", 400, "malformed_request", ""),
        (b"\xef\xbb\xbf{}", 400, "malformed_request", ""),
        (b'{"priority": NaN}', 400, "malformed_request", "/priority"),
        (b'{"a": [-Infinity]}', 400, "malformed_request", "/a/0"),
        (b'"text"', 422, "invalid_input", ""),
        (b"[]", 422, "invalid_input", ""),
        (b"null", 422, "invalid_input", ""),
        (b'{"name": "a", "name": "b"}', 422, "invalid_input", "/name"),
        (b'{"labels": {"a/b": "", "a/b": ""}}', 422, "invalid_input", "/labels/a~1b"),
        (b'{"name": "a\\u0000b"}', 422, "invalid_input", "/name"),
        (b'{"labels": {"\\u0000": ""}}', 422, "invalid_input", "/labels/\ufffd"),
        (b'{"name": "\\ud800"}', 422, "invalid_input", "/name"),
        (b'{"name": "\\udc00\\ud800"}', 422, "invalid_input", "/name"),
        (b'{"priority": 9223372036854775808}', 422, "invalid_input", "/priority"),
        (b'{"priority": -9223372036854775809}', 422, "invalid_input", "/priority"),
        (b'{"priority": ' + b"9" * 5000 + b"}", 422, "invalid_input", "/priority"),
        (b'{"retry_backoff_seconds": 1e999}', 422, "invalid_input", "/retry_backoff_seconds"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", 422, "invalid_input", "/a" + "/0" * 63),
        (b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 422, "invalid_input", ""),
    ],
)
async def test_json_that_cannot_be_kept_is_refused_with_a_pointer(
    user: Client, body: bytes, status: int, error: str, pointer: str
) -> None:
    """Never a 5xx, whatever the bytes."""
    headers = {"Content-Type": "application/json"}
    answer = await user.post("/api/v1/jobs", content=body, headers=headers)
    assert problem(answer, status, error)["errors"][0]["pointer"] == pointer


async def test_text_outside_of_the_basic_plane_is_kept(user: Client) -> None:
    """A pair of surrogates is one letter."""
    body = b'{"name": "\\ud83d\\ude80 \xc3\xa9", "job_command": "true"}'
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    answer = await user.post("/api/v1/jobs", content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "\U0001f680 é"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_media_type_is_415(user: Client, headers: dict[str, str]) -> None:
    """JSON in UTF-8 as it stands, or nothing."""
    answer = await user.post("/api/v1/jobs", content=b"{}", headers=headers)
    problem(answer, 415, "unsupported_media_type")


async def test_a_body_over_one_mebibyte_is_413_announced_or_not(user: Client) -> None:
    """By its Content-Length, or as soon as it has come too far."""
    large = b'{"name": "' + b"x" * 1024 * 1024 + b'"}'
    headers = {"Content-Type": "application/json"}

    async def parts() -> Any:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    announced = await user.post("/api/v1/jobs", content=large, headers=headers)
    chunked = await user.post("/api/v1/jobs", content=parts(), headers=headers)
    problem(announced, 413, "too_large")
    problem(chunked, 413, "too_large")


async def test_several_flaws_are_named_at_once(user: Client) -> None:
    """All of them, each with its pointer."""
    body = {**JOB, "priority": 5000, "nonsense": 1, "labels": {"a": 1}}
    found = problem(await user.post("/api/v1/jobs", json=body), 422, "invalid_input")
    pointers = {flaw["pointer"] for flaw in found["errors"]}
    assert pointers == {"/priority", "/nonsense", "/labels/a"}
    assert "5000" not in found["errors"][0]["message"].replace("1000", "")


@pytest.mark.parametrize(
    ("given", "length"),
    [("a", 1), ("A.b_c-9" * 18, 126), ("x" * 128, 128), ("x" * 129, 36), ("a b", 36), ("", 36)],
)
async def test_a_usable_request_id_is_kept(anonymous: Client, given: str, length: int) -> None:
    """The caller's, when it is 1 to 128 plain characters; else a new one (a UUID)."""
    answer = await anonymous.get("/livez", headers={"X-Request-Id": given})
    assert len(answer.headers["x-request-id"]) == length
    assert (answer.headers["x-request-id"] == given) is (length == len(given))


async def test_answers_are_not_stored_and_not_guessed_at(user: Client) -> None:
    """`no-store` on what belongs to somebody, `nosniff` on everything, no CORS."""
    answer = await user.get("/api/v1/jobs", headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_defect_is_500_and_tells_nothing(services: Services) -> None:
    """The answer names the request; only the log names the defect."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        message = "secret detail"
        raise RuntimeError(message)

    transport = httpx2.ASGITransport(RequestEdge(broken, Metrics(), services.accesses))
    async with Client(transport=transport, base_url="http://api") as client:
        found = problem(await client.get("/"), 500, "internal_error")
    assert "secret detail" not in str(found)
