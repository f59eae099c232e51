"""The handler that our worker is measured with: takes note of when it began, and nothing else.

Loaded by `reactorcide worker --handlers`, where loading is the gate: it waits there for a line,
as the workers of others do when all is imported. What was noted goes into the file that
PEERS_HITS names when the worker ends.
"""

import atexit
import os
import sys
from pathlib import Path
from typing import Any

from reactorcide.benchmarks.peers.program import Hits
from reactorcide.worker.handlers import handler

_hits = Hits(Path(os.environ["PEERS_HITS"]))
atexit.register(_hits.write)
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()


@handler("noop")
async def noop(args: dict[str, Any]) -> None:
    """Do nothing."""
    _hits.hit(args["sent"])
