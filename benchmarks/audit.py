"""Questions to the audit trail, over HTTP: p50 and p99 of a page of 50 events for each filter.

BENCH_EVENTS says how long the log is to be: several lengths are measured in turn, each on a log
of its own (100,000 and 1,000,000 at first; 10,000,000 takes about 8 GB). Each question draws its
value as events did: busy users and rare ones. The first question of each kind does not count.
"""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

import asyncpg
import httpx2
import uvloop

from reactorcide.benchmarks import audit_log
from reactorcide.benchmarks.audit_log import BEGAN, EVENT_SECONDS, drawn
from reactorcide.benchmarks.harness import percentile, report, server
from reactorcide.benchmarks.servers import api
from reactorcide.projections import checkpoints, sealer

_LENGTHS: Final = tuple(map(int, os.environ.get("BENCH_EVENTS", "100000,1000000").split(",")))
_QUESTIONS: Final = int(os.environ.get("BENCH_QUESTIONS", "200"))
_PATH: Final = "/api/v1/audit/events"
_LOOK_SECONDS: Final = 0.5

Query: TypeAlias = Mapping[str, str]
Question: TypeAlias = Callable[[random.Random, int], Query]
"""Draws a question to a log of so many jobs."""


def _time(chance: random.Random, jobs: int) -> str:
    at = BEGAN + timedelta(seconds=5 * EVENT_SECONDS * chance.randrange(jobs))
    return at.isoformat().replace("+00:00", "Z")


def _user(chance: random.Random, _jobs: int) -> str:
    return str(audit_log.user_id(drawn(chance, audit_log.USERS)))


def _ip(chance: random.Random, _jobs: int) -> str:
    return str(audit_log.address(drawn(chance, audit_log.ADDRESSES)))


def _always(**query: str) -> Question:
    return lambda _chance, _jobs: query


_FLOOR: Final = "floor: /livez"

QUESTIONS: Final[Mapping[str, Question]] = {
    "no filter": _always(),
    "actor: a user": lambda c, n: {"actor": _user(c, n)},
    "actor: a token": lambda c, _: {"actor": str(audit_log.token_id(drawn(c, audit_log.USERS)))},
    "actor: a worker": lambda c, _: {
        "actor": str(audit_log.worker_id(c.randrange(audit_log.WORKERS)))
    },
    "actor: nobody known": lambda _c, _n: {"actor": str(audit_log.user_id(1 << 20))},
    "type, common": _always(type="job.completed"),
    "type, rare": _always(type="token.revoked"),
    "stream_id": lambda c, n: {"stream_id": str(audit_log.stream_id(c.randrange(n)))},
    "stream_type, common": _always(stream_type="job"),
    "stream_type, rare": _always(stream_type="token"),
    "ip": lambda c, n: {"ip": _ip(c, n)},
    "request_id": lambda c, n: {"request_id": f"request-{c.randrange(n)}"},
    "outcome success": _always(outcome="success"),
    "outcome denied": _always(outcome="denied"),
    "outcome refused": _always(outcome="refused"),
    "since": lambda c, n: {"since": _time(c, n)},
    "until": lambda c, n: {"until": _time(c, n)},
    "actor and type": lambda c, n: {"actor": _user(c, n), "type": "job.submitted"},
    "actor, rare type": lambda c, n: {"actor": _user(c, n), "type": "token.revoked"},
    "actor and until": lambda c, n: {"actor": _user(c, n), "until": _time(c, n)},
    "ip and since": lambda c, n: {"ip": _ip(c, n), "since": _time(c, n)},
    "denied, ip": lambda c, n: {"outcome": "denied", "ip": _ip(c, n)},
}


async def _milliseconds(client: httpx2.AsyncClient, query: Query | None) -> float:
    """Ask, or without a query do what costs an answer and no look into the database."""
    began = time.perf_counter()
    if query is None:
        answer = await client.get("/livez")
    else:
        answer = await client.get(_PATH, params=dict(query))
    taken = (time.perf_counter() - began) * 1000
    answer.raise_for_status()
    return taken


async def _measured(client: httpx2.AsyncClient, jobs: int) -> list[dict[str, Any]]:
    """Ask each question many times, all kinds in turn: what one warms another may cool."""
    chance = random.Random(jobs)  # noqa: S311 -- no secret
    taken: dict[str, list[float]] = {name: [] for name in (_FLOOR, *QUESTIONS)}
    for round_number in range(_QUESTIONS + 1):
        floor = await _milliseconds(client, None)
        if round_number:
            taken[_FLOOR].append(floor)
        for name, question in QUESTIONS.items():
            milliseconds = await _milliseconds(client, question(chance, jobs))
            if round_number:
                taken[name].append(milliseconds)
    return [
        {
            "filter": name,
            "p50_ms": round(statistics.median(values), 1),
            "p99_ms": round(percentile(values, 99), 1),
            "max_ms": round(max(values), 1),
        }
        for name, values in taken.items()
    ]


async def measure() -> None:
    """Ask logs of each length; each is a new one: what is generated is older than what happens."""
    cases: list[dict[str, Any]] = []
    sizes: dict[str, float] = {}
    for events in _LENGTHS:
        async with server() as uri:
            jobs = await audit_log.fill(uri, events)
            load = round(os.getloadavg()[0], 1)
            async with api(uri) as (port, env):
                await _sealed(uri)
                headers = {"Authorization": f"Bearer {env['REACTORCIDE_API_TOKEN']}"}
                url = f"http://127.0.0.1:{port}"
                async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
                    found = await _measured(client, jobs)
            sizes = await _gigabytes(uri)
        cases += [{"events": events, "load": load, **case} for case in found]
    report("audit", unit="milliseconds", gigabytes=sizes, cases=cases)


async def _sealed(uri: str) -> None:
    """Wait until the API has sealed what was generated, as it has in an installation."""
    connection = await asyncpg.connect(uri)
    last = await connection.fetchval("SELECT max(position) FROM events")
    while await checkpoints.position(connection, sealer.NAME) < last:  # noqa: ASYNC110  none rings
        await asyncio.sleep(_LOOK_SECONDS)
    await connection.close()


async def _gigabytes(uri: str) -> dict[str, float]:
    connection = await asyncpg.connect(uri)
    sizes = {
        table: round(
            await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", table) / 1e9, 2
        )
        for table in ("events", "audit_events")
    }
    await connection.close()
    return sizes


if __name__ == "__main__":
    uvloop.run(measure())
