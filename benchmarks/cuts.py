"""A listener that is cut off all the time, amid bursts: what it misses, and how late it is.

`python -m reactorcide.benchmarks.cuts --cuts 200`: one line of JSON, exit code 1 when a job was
missed, or the slowest hundredth were seen later than within a second. Both doorbells are cut,
that of who submits and that of who waits; the poll floor of a worker is part of what is measured.
"""

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.ending import run_to_end
from reactorcide.benchmarks.harness import percentile, server
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.ids import new_id

_BURST: Final = 5
_POLL_SECONDS: Final = 3.0
_LATE_SECONDS: Final = 1.0
_MISSED_SECONDS: Final = 20.0
_CUT: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%' OR query = 'SELECT 1')"""
_SEEN: Final = "SELECT job_id FROM jobs WHERE status = 'queued' AND job_id > $1 ORDER BY job_id"


class Waiter:
    """Waits for rings, and looks what is there; knows when it first saw what."""

    def __init__(self) -> None:
        self.seen: dict[UUID, float] = {}

    async def wait(self, uri: str) -> None:
        """Look after every ring, and at the poll floor."""
        database, last = Database(uri), UUID(int=0)
        reading = await database.connect(application_name="reading")
        try:
            async with Doorbell(database, ["jobs"]) as doorbell:
                with doorbell.listen("jobs") as listener:
                    while True:
                        await listener.wait(_POLL_SECONDS)
                        for row in await reading.fetch(_SEEN, last):
                            last = row[0]
                            self.seen[last] = time.monotonic()
        finally:
            reading.terminate()


async def cut_often(uri: str, cuts: int) -> dict[str, Any]:
    """Submit bursts, each amid a cut; return the figures."""
    waiter, sent = Waiter(), dict[UUID, float]()
    admin = await asyncpg.connect(uri)
    waiting = asyncio.create_task(waiter.wait(uri))
    done = 0
    try:
        async with Submitter(uri, user_id=new_id()) as submitter:
            for _ in range(cuts):
                for nth in range(_BURST):
                    job_id = await submitter.submit(job_command="true")
                    sent[job_id] = time.monotonic()
                    if nth == _BURST // 2:
                        done += await admin.fetchval(_CUT)
                await asyncio.sleep(0.05)
            missed_at = time.monotonic() + _MISSED_SECONDS
            while len(waiter.seen) < len(sent) and time.monotonic() < missed_at:  # noqa: ASYNC110  a measure
                await asyncio.sleep(0.05)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await admin.close()
    late = [max(waiter.seen[one] - at, 0) for one, at in sent.items() if one in waiter.seen]
    return {
        "measure": "cuts",
        "cuts": cuts,
        "connections_cut": done,
        "jobs": len(sent),
        "missed": len(sent) - len(late),
        "p50_ms": round(percentile(late, 50) * 1000, 1),
        "p99_ms": round(percentile(late, 99) * 1000, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    cuts: int = parser.parse_args(arguments).cuts

    async def on_a_server() -> dict[str, Any]:
        async with server() as uri:
            return await cut_often(uri, cuts)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures = run_to_end(on_a_server())
    print(json.dumps(figures), flush=True)  # noqa: T201  its output
    return int(figures["missed"] > 0 or figures["p99_ms"] > _LATE_SECONDS * 1000)


if __name__ == "__main__":
    sys.exit(main())
