"""The handler that our worker is measured with: takes note of when it began, and nothing else.

Loaded by `reactorcide worker --handlers`. What was noted goes into the file that PEERS_HITS
names when the worker ends.
"""

import atexit
import os
from pathlib import Path
from typing import Any

from reactorcide.benchmarks.peers.program import Hits
from reactorcide.worker.handlers import handler

_hits = Hits(Path(os.environ["PEERS_HITS"]))
atexit.register(_hits.write)


@handler("noop")
async def noop(args: dict[str, Any]) -> None:
    """Do nothing."""
    _hits.hit(args["sent"])
