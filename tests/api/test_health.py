"""Health, counters and the document: open to everybody."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Final

import asyncpg
import pytest
from pydantic import BaseModel

from reactorcide.api.docs import render
from reactorcide.api.errors import ERROR_CODES
from reactorcide.api.metrics import QUEUES_SHOWN
from reactorcide.api.openapi import document
from reactorcide.api.services import Services
from reactorcide.api.table import OPERATIONS
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import JOB, Client


@pytest.mark.parametrize("path", ["/api/health", "/api/v1/health"])
async def test_health_tells_how_the_parts_do(anonymous: Client, path: str) -> None:
    """Status, version and checks, without a token."""
    answer = await anonymous.get(path)
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["version"]
    assert body["checks"] == {"database": "ok", "doorbell": "ok"}


async def test_probes_answer(anonymous: Client) -> None:
    """Alive and ready."""
    assert (await anonymous.get("/livez")).status_code == 200
    answer = await anonymous.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "doorbell": "ok"}


async def test_a_doorbell_that_is_down_is_told(services: Services, anonymous: Client) -> None:
    """By health, readiness and a metric; requests are answered all the same."""
    metrics = (await anonymous.get("/metrics")).text
    assert "reactorcide_doorbell_up 1.0" in metrics
    assert "reactorcide_doorbell_losses 0.0" in metrics
    await services.doorbell.__aexit__(None, None, None)
    assert (await anonymous.get("/api/health")).json()["status"] == "degraded"
    ready = await anonymous.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"database": "ok", "doorbell": "down"}
    assert "reactorcide_doorbell_up 0.0" in (await anonymous.get("/metrics")).text


async def test_a_closed_database_is_503_and_never_401(services: Services, user: Client) -> None:
    """Whoever asks for something that needs it is told to come back."""
    await services.pool.close()
    for path in ("/api/health", "/api/v1/health", "/readyz", "/api/v1/jobs", "/metrics"):
        answer = await user.get(path)
        assert answer.status_code == 503, (path, answer.text)
        assert answer.json()["error"] == "unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert (await user.get("/livez")).status_code == 200


CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid()"""


async def test_a_database_that_goes_and_comes_back(
    database_uri: str, services: Services, user: Client
) -> None:
    """503 on reads and writes alike while it is away; then all is well again by itself."""
    elsewhere = await asyncpg.connect(database_uri, database="postgres")
    name = await services.pool.fetchval("SELECT current_database()")
    away, back = f'ALTER DATABASE "{name}" RENAME TO gone_{name}', f"gone_{name}"
    try:
        while True:  # somebody may connect again in between
            await elsewhere.fetch(CUT, name)
            with suppress(asyncpg.ObjectInUseError):
                await elsewhere.execute(away)
                break
        for answer in (
            await user.get("/readyz"),
            await user.get("/api/health"),
            await user.get("/api/v1/jobs"),
            await user.post("/api/v1/jobs", json=JOB),
            await user.post("/api/v1/jobs", json=JOB, headers={"Idempotency-Key": "k"}),
            await user.post("/api/v1/jobs", json={**JOB, "unique_key": "k"}),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.json()["error"] == "unavailable"
        await elsewhere.execute(f'ALTER DATABASE "{back}" RENAME TO "{name}"')
        async with asyncio.timeout(20):
            while (await user.post("/api/v1/jobs", json=JOB)).status_code != 201:
                pass  # asks again
            while (await user.get("/api/health")).json().get("checks", {}).get("doorbell") != "ok":
                pass  # asks again
    finally:
        await elsewhere.close()


async def test_metrics_count_requests_and_jobs(
    services: Services, user: Client, anonymous: Client
) -> None:
    """By operation and by status, in Prometheus' format."""
    first = (await user.post("/api/v1/jobs", json=JOB)).json()["job_id"]
    await user.post("/api/v1/jobs", json=JOB)
    await work.start(services, first)
    answer = await anonymous.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    counted = (
        'reactorcide_http_requests_total{method="POST",operation="submitJob",status="201"} 2.0'
    )
    assert counted in text
    assert 'reactorcide_jobs{status="queued"} 1.0' in text
    assert 'reactorcide_jobs{status="running"} 1.0' in text
    assert 'reactorcide_jobs{status="claimed"} 0.0' in text
    assert 'reactorcide_queue_jobs{queue_name="default",status="queued"} 1.0' in text
    assert 'reactorcide_queue_jobs{queue_name="default",status="running"} 1.0' in text


async def test_an_emptied_queue_leaves_the_metrics(
    services: Services, user: Client, anonymous: Client
) -> None:
    """Its series ends, and the totals go down to 0."""
    submitted = await user.post("/api/v1/jobs", json={**JOB, "queue_name": "soon-gone"})
    assert 'queue_name="soon-gone"' in (await anonymous.get("/metrics")).text
    await work.run(services, submitted.json()["job_id"])
    text = (await anonymous.get("/metrics")).text
    assert "soon-gone" not in text
    assert 'reactorcide_jobs{status="queued"} 0.0' in text


async def test_more_queues_than_are_shown_are_counted_as_one(
    user: Client, anonymous: Client
) -> None:
    """The largest are shown; whoever makes up names does not fill the memory of whoever scrapes."""
    jobs = [{**JOB, "queue_name": f"q{nth}"} for nth in range(QUEUES_SHOWN + 7)]
    await user.post("/api/v1/jobs/batch", json={"jobs": [*jobs, *jobs[-1:]]})
    text = (await anonymous.get("/metrics")).text
    assert len(re.findall(r'queue_jobs\{.*status="queued"', text)) == QUEUES_SHOWN + 1
    assert 'reactorcide_queue_jobs{queue_name="other",status="queued"} 7.0' in text
    assert f'reactorcide_queue_jobs{{queue_name="q{QUEUES_SHOWN + 6}",status="queued"}} 2.0' in text
    assert f'reactorcide_jobs{{status="queued"}} {QUEUES_SHOWN + 8}.0' in text


async def test_unknown_paths_do_not_make_new_series(anonymous: Client) -> None:
    """A scanner cannot fill the memory."""
    for nth in range(20):
        await anonymous.request(f"M{nth}", f"/{nth}")
    text = (await anonymous.get("/metrics")).text
    assert len(re.findall(r'http_requests_total\{.*operation="unknown"', text)) == 1


async def test_the_document_names_every_operation(anonymous: Client) -> None:
    """OpenAPI 3.1, with each path and method of the table, and every reference resolved."""
    openapi = (await anonymous.get("/openapi.json")).json()
    assert openapi["openapi"].startswith("3.1")
    for row in OPERATIONS:
        operation = openapi["paths"][row.path][row.method.lower()]
        assert operation["operationId"] == row.name
        assert str(int(row.status)) in operation["responses"]
    names = [row.name for row in OPERATIONS]
    assert len(set(names)) == len(names)
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(openapi)))
    assert references <= openapi["components"]["schemas"].keys()


async def test_the_page_needs_nothing_from_outside(anonymous: Client) -> None:
    """No script, no other origin, and a policy that says so."""
    answer = await anonymous.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
    for row in OPERATIONS:
        assert f'id="{row.name}"' in answer.text
    for code in ERROR_CODES:
        assert f'id="{code}"' in answer.text


def test_the_page_escapes_what_it_shows() -> None:
    """Nothing in the document becomes markup."""
    openapi = document(OPERATIONS, "<b>")
    assert "<b>" not in render(openapi)


def test_every_answer_in_the_table_is_a_model() -> None:
    """So that the document says what comes back."""
    for row in OPERATIONS:
        assert row.answer is None or issubclass(row.answer, BaseModel)
