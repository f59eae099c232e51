"""What a job's command left for others: the list of it, and each file as it was."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

from pydantic import Field
from starlette.responses import Response, StreamingResponse

from reactorcide.api.call import Call, json_answer
from reactorcide.api.errors import not_found
from reactorcide.api.fields import RequestModel
from reactorcide.api.jobs.sight import visible_job
from reactorcide.api.pages import QueryInt
from reactorcide.api.streaming import bounds_of, primed
from reactorcide.projections import artifacts
from reactorcide.projections.artifacts import Artifact

OCTETS: Final = "application/octet-stream"

# Whatever is in the file: a browser saves it, and runs nothing of it.
_HARMLESS: Final = {"Content-Security-Policy": "sandbox; default-src 'none'"}


class ArtifactQuery(RequestModel):
    """Whose files."""

    attempt: Annotated[QueryInt, Field(ge=1, le=999_999_999)] | None = None


async def list_artifacts(call: Call[None, ArtifactQuery]) -> Response:
    """List what one attempt left, by path: the latest that left anything, at first."""
    job = await visible_job(call)
    found = await artifacts.list_of(call.services.pool, job.job_id, call.query.attempt)
    call.services.accesses.note_read("artifacts", call, job.job_id, job.submitted.user_id)
    return json_answer({"artifacts": [render(artifact) for artifact in found]})


def render(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact as the API shows it."""
    path, size, sha256, _ = artifact
    return {"path": path, "size": size, "sha256": sha256.hex()}


async def download(call: Call[None, ArtifactQuery]) -> Response:
    """Answer with one file, or a range of it; it is never opened here."""
    job = await visible_job(call)
    path = call.request.path_params["path"]
    found = None
    if "\0" not in path:
        found = await artifacts.get(call.services.pool, job.job_id, path, call.query.attempt)
    if found is None:
        raise not_found(kind="artifact")
    call.services.accesses.note_read("artifacts", call, job.job_id, job.submitted.user_id)
    return await _sent(call, found)


async def _sent(call: Call[Any, Any], artifact: Artifact) -> Response:
    tag = f'"{artifact.sha256.hex()}"'
    headers = {**_HARMLESS, "ETag": tag, "Content-Disposition": _attachment(artifact.path)}
    asked: Mapping[str, str] = call.request.headers
    if tag in asked.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    bounds = None
    if asked.get("if-range", tag) == tag:
        bounds = bounds_of(asked.get("range", ""), artifact.size, "artifact")
    start, stop = bounds or (0, artifact.size)
    headers |= {"Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    status = HTTPStatus.OK
    if bounds is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size}"
        status = HTTPStatus.PARTIAL_CONTENT
    if call.request.method == "HEAD":
        return Response(b"", status, headers, OCTETS)
    stored = call.services.objects.get(artifact.object_key, start, stop)
    return StreamingResponse(await primed(stored), status, headers, OCTETS)


def _attachment(path: str) -> str:
    """Return how the file is to be saved, by its last name (RFC 6266, RFC 8187)."""
    name = path.rpartition("/")[2]
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
