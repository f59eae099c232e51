"""Measure this project beside its peers: `python -m reactorcide.benchmarks.peers [NAME ...]`.

Prints one JSON line for each figure, a median over interleaved rounds; progress and tables go to
standard error. `--write` puts tables and chart into docs/. PEERS_ROUNDS and PEERS_SECONDS make a
run shorter or longer, BENCH_DB_URI takes a server that is there.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from reactorcide.benchmarks.peers.figures import json_lines, markdown, medians, ratios
from reactorcide.benchmarks.peers.page import Run, write
from reactorcide.benchmarks.peers.rounds import ROUNDS, Rounds, say
from reactorcide.benchmarks.peers.server import databases
from reactorcide.benchmarks.peers.systems import NAMES, OURS, System, systems

_DEADLINE_SECONDS: Final = float(os.environ.get("PEERS_DEADLINE", "1000"))
"""No step begins later than this after the start; one under way ends within three minutes."""

_INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    """Measure the named systems, or all; 1 when ours gave no figure, 2 for an unknown name."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    wanted = frozenset(word for word in arguments if not word.startswith("-")) or frozenset(NAMES)
    unknown = sorted(wanted - set(NAMES))
    if unknown:
        say(f"no such system: {', '.join(unknown)}; there are: {', '.join(NAMES)}")
        return 2
    found = list(systems(wanted, lambda name, reason: say(f"{name}: left out: {reason}")))
    # Ended by either signal, it takes its programs and its server with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run = asyncio.run(_measured(found, deadline))
    except KeyboardInterrupt:
        return _INTERRUPTED
    table = medians(run.figures)
    for line in json_lines(table):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    others = [system.name for system in found if system.name != OURS]
    say(f"\n{markdown(table, [system.name for system in found])}\n")
    say(f"{OURS} / theirs (rates: more is better; ms: less is)\n")
    say(markdown(ratios(run.figures, OURS), others))
    if "--write" in arguments:
        write(run)
    return int(OURS in wanted and not any(OURS in row for row in table.values()))


async def _measured(found: Sequence[System], deadline: float) -> Run:
    async with databases() as on:
        settings = f"{os.cpu_count()} cores, PostgreSQL {await on.settings()}"
        say(f"on {settings}; load before it began: {os.getloadavg()[0]:.1f}")
        for system in found:
            say(f"{system.name}: {system.settings}")
        rounds = Rounds(on, found, deadline)
        await rounds.install()
        await rounds.run(ROUNDS)
    return Run(tuple(found), tuple(rounds.figures), settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
