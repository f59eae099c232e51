"""Memory at rest: RSS of the API and of a worker, in MB, some seconds after their start.

The floor is an interpreter that has only imported what every such program needs.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import report, run
from reactorcide.benchmarks.servers import api_process, child, command, until

_RUNNING: Final = "SELECT count(*) FROM workers WHERE status = 'active'"
_REST_SECONDS: Final = 3
_BARE: Final = "import asyncio, asyncpg, pydantic, structlog, time; time.sleep(60)"


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def measure(uri: str) -> None:
    """Start all three, wait, look."""
    connection = await asyncpg.connect(uri)
    async with (
        api_process(uri) as (serve, _, env),
        child(command("worker", "--concurrency", "4"), env) as worker,
        child([sys.executable, "-c", _BARE], env) as bare,
    ):
        await until(connection, _RUNNING, 1)
        await asyncio.sleep(_REST_SECONDS)
        floor = _rss_mb(bare.pid)
        found = {"serve": _rss_mb(serve.pid), "worker": _rss_mb(worker.pid)}
    await connection.close()
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
