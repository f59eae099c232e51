"""Submit over HTTP: jobs per second with 1 and 16 clients and by the batch endpoint.

The floor is a bare Starlette route with one INSERT of the same body, under the same server.
"""

import json
import sys
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import SECONDS, Rate, interleave, report, rounded, run
from reactorcide.benchmarks.http_load import post, requests_per_second
from reactorcide.benchmarks.servers import api, child, environment, free_port

_JOB: Final = {"name": "noop", "job_command": "true", "queue_name": "bench"}
_BATCH: Final = 500


def _rate(port: int, request: bytes, clients: int, jobs: int = 1) -> Rate:
    async def one_round() -> float:
        return jobs * await requests_per_second(port, request, clients, SECONDS)

    return one_round


async def measure(uri: str) -> None:
    """Measure single submits with 1 and 16 clients, then batches with 1 and 4."""
    admin = await asyncpg.connect(uri)
    await admin.execute("CREATE TABLE bare_jobs (id uuid PRIMARY KEY, payload jsonb NOT NULL)")
    await admin.close()
    bare_port = free_port()
    words = [sys.executable, "-m", "uvicorn", "reactorcide.benchmarks.bare_route:app"]
    words += ["--port", str(bare_port), "--loop", "uvloop", "--http", "httptools"]
    words += ["--no-access-log", "--log-level", "warning"]
    env = environment(uri, "", BENCH_FLOOR_URI=uri)
    async with api(uri) as (port, api_env), child(words, env, bare_port):
        token = api_env["REACTORCIDE_API_TOKEN"]
        one = json.dumps(_JOB).encode()
        many = json.dumps({"jobs": [_JOB] * _BATCH}).encode()
        cases = []
        for clients in (1, 16):
            pair = await interleave(
                _rate(port, post("/api/v1/jobs", one, token), clients),
                _rate(bare_port, post("/jobs", one), clients),
            )
            cases.append(rounded(pair, clients=clients, batch=1))
        for clients in (1, 4):
            pair = await interleave(
                _rate(port, post("/api/v1/jobs/batch", many, token), clients, _BATCH),
                _rate(bare_port, post("/jobs/batch", many), clients, _BATCH),
            )
            cases.append(rounded(pair, clients=clients, batch=_BATCH))
        report("submit_http", unit="jobs/s", cases=cases)


if __name__ == "__main__":
    run(measure)
