"""Memory at rest: RSS of the API and of a worker, in MB, some seconds after their start.

And of a worker while 50 commands run, each of which has printed something, with its supervisors.
The floor is an interpreter that has only imported what every such program needs.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import asyncpg

from reactorcide.benchmarks.claim_finish import fill
from reactorcide.benchmarks.harness import report, run
from reactorcide.benchmarks.servers import api_process, child, command, until
from reactorcide.eventstore.database import Database

_WORKERS: Final = "SELECT count(*) FROM workers WHERE status = 'active'"
_RUNNING: Final = "SELECT count(*) FROM jobs WHERE status = 'running'"
_LOGS: Final = "SELECT count(DISTINCT job_id) FROM log_chunks"
_COMMANDS: Final = 50
_LONG: Final = "echo running; exec sleep 600"
_REST_SECONDS: Final = 3
_BARE: Final = "import asyncio, asyncpg, pydantic, structlog, time; time.sleep(60)"


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def _supervisors_of(worker: int) -> list[int]:
    """Return the children of a worker: commands are the supervisors'."""
    pids = Path(f"/proc/{worker}/task/{worker}/children").read_text("utf-8").split()
    return [int(pid) for pid in pids]


async def _at_rest(uri: str) -> dict[str, float]:
    """Start all three, wait, look."""
    connection = await asyncpg.connect(uri)
    async with (
        api_process(uri) as (serve, _, env),
        child(command("worker", "--concurrency", "4"), env) as worker,
        child([sys.executable, "-c", _BARE], env) as bare,
    ):
        await until(connection, _WORKERS, 1)
        await asyncio.sleep(_REST_SECONDS)
        found = {
            "floor": _rss_mb(bare.pid),
            "serve": _rss_mb(serve.pid),
            "worker": _rss_mb(worker.pid),
        }
        return found | await _at_work(uri, env)


async def _at_work(uri: str, env: dict[str, str]) -> dict[str, float]:
    """Start a worker whose slots are all taken."""
    connection = await asyncpg.connect(uri)
    await fill(Database(uri), _COMMANDS, "long", _LONG)
    words = command("worker", "--queue", "long", "--concurrency", str(_COMMANDS))
    async with child(words, env | {"REACTORCIDE_DRAIN_SECONDS": "0"}) as worker:
        await until(connection, _RUNNING, _COMMANDS)
        await until(connection, _LOGS, _COMMANDS)
        await asyncio.sleep(_REST_SECONDS)
        found = {
            f"worker, {_COMMANDS} commands": _rss_mb(worker.pid),
            "their supervisors": sum(map(_rss_mb, _supervisors_of(worker.pid))),
        }
    await connection.close()
    return found


async def measure(uri: str) -> None:
    """Look at all of them."""
    found = await _at_rest(uri)
    floor = found.pop("floor")
    cases = [
        {
            "program": program,
            "ours": round(rss, 1),
            "floor": round(floor, 1),
            "ratio": round(rss / floor, 2),
        }
        for program, rss in found.items()
    ]
    report("memory", unit="MB of RSS", cases=cases)


if __name__ == "__main__":
    run(measure)
