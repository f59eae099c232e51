"""From `reactorcide run -- echo hi` to its first line on screen, in milliseconds.

Real processes: the command, the API, a worker, sh. The floor is this interpreter starting and
printing a line: no command written in Python can be faster.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from reactorcide.benchmarks.harness import percentile, report, run
from reactorcide.benchmarks.servers import api, child, command, until

_RUNS: Final = 30
_RUNNING: Final = "SELECT count(*) FROM workers WHERE status = 'active'"


def _first_line_ms(words: Sequence[str], env: Mapping[str, str]) -> float:
    start = time.perf_counter()
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE) as started:  # noqa: S603 -- our own words
        assert started.stdout is not None  # noqa: S101 -- it was asked for
        line = started.stdout.readline()
        took = (time.perf_counter() - start) * 1000
    if line != b"hi\n" or started.returncode != 0:
        msg = f"{words} said {line!r}, exit code {started.returncode}"
        raise RuntimeError(msg)
    return took


async def measure(uri: str) -> None:
    """Run both in turn."""
    connection = await asyncpg.connect(uri)
    async with api(uri) as (_, env), child(command("worker", "--concurrency", "4"), env):
        await until(connection, _RUNNING, 1)
        words = command("run", "--", "echo", "hi")
        bare = [sys.executable, "-c", "print('hi')"]
        await asyncio.to_thread(_first_line_ms, words, env)
        ours: list[float] = []
        floor: list[float] = []
        for _ in range(_RUNS):
            ours.append(await asyncio.to_thread(_first_line_ms, words, env))
            floor.append(await asyncio.to_thread(_first_line_ms, bare, env))
    await connection.close()
    cases = [
        {
            "percentile": percent,
            "ours": round(percentile(ours, percent), 1),
            "floor": round(percentile(floor, percent), 1),
            "ratio": round(percentile(ours, percent) / percentile(floor, percent), 2),
        }
        for percent in (50, 95)
    ]
    report("first_line", unit="ms", runs=_RUNS, cases=cases)


if __name__ == "__main__":
    run(measure)
