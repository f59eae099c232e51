"""The audit trail as a file from `reactorcide serve`: events per second, and the server's memory.

The floor reads the same pages in this program and drops them. `grown_mb` is by how much the
server's largest memory grew while the file went through. BENCH_EVENTS makes the trail shorter or
longer.
"""

import asyncio
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from reactorcide.api.exports.formats import FORMATS
from reactorcide.benchmarks.harness import report, run
from reactorcide.benchmarks.history import fill
from reactorcide.benchmarks.servers import child, command, environment, free_port, make_token
from reactorcide.cli.client import Client
from reactorcide.eventstore.database import Database
from reactorcide.projections import audit_events, audit_exports
from reactorcide.projections.audit_events import AuditFilter
from reactorcide.projections.audit_exports import Span
from reactorcide.projections.subscription import EVENTS_EACH

_EVENTS: Final = int(os.environ.get("BENCH_EVENTS", "200000"))
_FOLLOWED: Final = "INSERT INTO checkpoints (name, position) VALUES ('audit_events', $1)"
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")


def _peak_mb(pid: int) -> int:
    found = _PEAK.search(Path(f"/proc/{pid}/status").read_text("ascii"))
    return int(found[1]) >> 10 if found else 0


async def _followed(database: Database) -> int:
    """Let the trail take all of the log; return its last position."""
    connection = await database.connect(role=False, jit="off")
    last: int = await connection.fetchval("SELECT max(position) FROM events")
    for after in range(0, last, EVENTS_EACH):
        await audit_events.SUBSCRIPTION.write(connection, after, min(after + EVENTS_EACH, last))
    await connection.execute(_FOLLOWED, last)
    await connection.execute("VACUUM (ANALYZE)", timeout=300)
    await connection.close()
    return last


async def _floor(database: Database, last: int) -> float:
    pool = await database.create_pool(1, 1)
    start, read = time.perf_counter(), 0
    async for page in audit_exports.pages(pool, Span(0, last), AuditFilter()):
        read += len(page)
    rate = read / (time.perf_counter() - start)
    await pool.close()
    return rate


def _export(client: Client, name: str, last: int) -> tuple[float, int]:
    start, size = time.perf_counter(), 0
    for piece in client.stream("/audit/export", query={"format": name, "to": last}):
        size += len(piece)
    return _EVENTS / (time.perf_counter() - start), size


async def measure(uri: str) -> None:
    """Fill the log, then take it along in each format."""
    await fill(uri, _EVENTS)
    database = Database(uri)
    last = await _followed(database)
    port, cases = free_port(), []
    with tempfile.TemporaryDirectory(prefix="rc-bench-") as data_dir:
        env = environment(uri, data_dir)
        token = await make_token(env)
        async with child(command("serve", "--port", str(port)), env, port) as served:
            client = Client(f"http://127.0.0.1:{port}", token)
            for name in FORMATS:
                before = _peak_mb(served.pid)
                floor = await _floor(database, last)
                rate, size = await asyncio.to_thread(_export, client, name, last)
                case: dict[str, Any] = {"format": name, "events": _EVENTS, "ours": round(rate)}
                case |= {"floor": round(floor), "ratio": round(rate / floor, 2)}
                grown = _peak_mb(served.pid) - before
                cases.append(case | {"megabytes": size >> 20, "grown_mb": grown})
    report("export", unit="events/s", cases=cases)


if __name__ == "__main__":
    run(measure)
