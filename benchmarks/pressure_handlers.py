"""The handler that a worker under pressure is measured with: notes when it began, nothing else.

Loaded by `reactorcide worker --handlers`. What it noted goes into the file that PRESSURE_HITS
names as it happens, so that whoever measures sees it while the worker runs: pairs of native
64-bit numbers, when the job was submitted and when the handler began, both monotonic ns.
"""

import asyncio
import atexit
import os
import time
from array import array
from pathlib import Path
from typing import Any, Final

from reactorcide.worker.handlers import handler

_WRITE_SECONDS: Final = 0.2


class _Notes:
    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._pairs = array("q")

    def hit(self, sent: int) -> None:
        """Take note, and write it soon."""
        if not self._pairs:
            asyncio.get_running_loop().call_later(_WRITE_SECONDS, self.write)
        self._pairs.extend((sent, time.monotonic_ns()))

    def write(self) -> None:
        """Leave in the file what was noted since."""
        self._file.write(self._pairs)
        del self._pairs[:]


_notes = _Notes(Path(os.environ["PRESSURE_HITS"]))
atexit.register(_notes.write)


@handler("noop")
async def noop(args: dict[str, Any]) -> None:
    """Do nothing."""
    _notes.hit(args["sent"])
