"""The floor of a submit over HTTP: a Starlette route that does one INSERT, and nothing else.

Run by uvicorn with the same loop and parser as the API. Reads BENCH_FLOOR_URI at start.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from reactorcide.eventstore.ids import new_id


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    uri = os.environ["BENCH_FLOOR_URI"]
    async with asyncpg.create_pool(uri, min_size=16, max_size=16) as pool:
        app.state.pool = pool
        yield


async def _insert(request: Request) -> JSONResponse:
    body: Any = await request.json()
    job_id = new_id()
    await request.app.state.pool.execute(
        "INSERT INTO bare_jobs (id, payload) VALUES ($1, $2)", job_id, json.dumps(body)
    )
    return JSONResponse({"id": str(job_id)}, 201)


async def _insert_many(request: Request) -> JSONResponse:
    bodies: Any = (await request.json())["jobs"]
    ids = [new_id() for _ in bodies]
    await request.app.state.pool.execute(
        "INSERT INTO bare_jobs (id, payload) SELECT * FROM unnest($1::uuid[], $2::jsonb[])",
        ids,
        [json.dumps(body) for body in bodies],
    )
    return JSONResponse({"ids": [str(job_id) for job_id in ids]}, 201)


app = Starlette(
    lifespan=_lifespan,
    routes=[
        Route("/jobs", _insert, methods=["POST"]),
        Route("/jobs/batch", _insert_many, methods=["POST"]),
    ],
)
