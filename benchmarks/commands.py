"""Commands per second: `/bin/true` as job_command, by one worker, against `xargs -P`.

Ours counts from the first claim to the last outcome, by the database's clock, with all that
belongs to an attempt: workspace, environment, start, log, outcome, clean-up. `xargs` starts the
program itself, and by a shell as what is a job_command is said to one.
"""

import asyncio
import subprocess
import time
from typing import Final

import asyncpg

from reactorcide.benchmarks.claim_finish import fill
from reactorcide.benchmarks.harness import Rate, interleave, report, rounded, run
from reactorcide.benchmarks.servers import child, command, environment, until
from reactorcide.eventstore.database import Database

_JOBS: Final = 400
_ROUNDS: Final = 3
_STARTED_BY_XARGS: Final = ("/bin/true", "sh -c /bin/true")
_OPEN: Final = (
    "SELECT count(*) FROM jobs WHERE status IN ('submitted','queued','claimed','running')"
)
_STARTED: Final = "SELECT coalesce(max(position), 0) FROM events"
_RATE: Final = """
SELECT count(*) FILTER (WHERE type = 'job.completed')
    / extract(epoch FROM max(recorded_at) - min(recorded_at))::float8
FROM events WHERE position > $1 AND type IN ('job.claimed', 'job.completed')"""


def _ours(uri: str, slots: int) -> Rate:
    async def one_round() -> float:
        database = Database(uri)
        connection = await asyncpg.connect(uri)
        await fill(database, _JOBS, "default", "/bin/true")
        position = await connection.fetchval(_STARTED)
        env = environment(uri, "/tmp/rc-bench-commands")  # noqa: S108 -- an idle data dir
        async with child(command("worker", "--concurrency", str(slots)), env):
            await until(connection, _OPEN, 0)
        rate: float = await connection.fetchval(_RATE, position)
        await connection.close()
        return rate

    return one_round


def _floor(slots: int, started: str) -> Rate:
    words = ["xargs", "-P", str(slots), "-n", "1", *started.split(maxsplit=2)]
    numbers = "\n".join(map(str, range(_JOBS)))

    async def one_round() -> float:
        start = time.perf_counter()
        await asyncio.to_thread(subprocess.run, words, input=numbers, text=True, check=True)
        return _JOBS / (time.perf_counter() - start)

    return one_round


async def measure(uri: str) -> None:
    """Measure with 1, 4 and 16 slots, beside either way to start it."""
    cases = []
    for slots in (1, 4, 16):
        for started in _STARTED_BY_XARGS:
            pair = await interleave(_ours(uri, slots), _floor(slots, started), _ROUNDS)
            cases.append(rounded(pair, slots=slots, xargs=started))
    report("commands", unit="commands/s", cases=cases)


if __name__ == "__main__":
    run(measure)
