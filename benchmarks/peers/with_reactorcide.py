"""This project through its library: submits that arrive together are written together.

Its worker is the command, not this program.
"""

from collections.abc import Callable
from typing import Final

import uvloop

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.peers.program import BATCH, Hits, main
from reactorcide.eventstore.ids import new_id
from reactorcide.migrations.runner import migrate_up

_NOOP: Final = {"handler": "noop", "args": {"sent": 0}}


class _Reactorcide:
    async def install(self, uri: str) -> None:
        migrate_up(uri)

    async def open(self, uri: str, callers: int) -> None:
        del callers  # they share one
        self._submitter = Submitter(uri, new_id())
        await self._submitter.__aenter__()

    async def close(self) -> None:
        await self._submitter.__aexit__(None, None, None)

    async def submit(self, sent: int) -> None:
        await self._submitter.submit(handler="noop", args={"sent": sent})

    async def submit_batch(self) -> None:
        await self._submitter.submit_many([_NOOP] * BATCH)

    async def work(self, uri: str, hits: Hits, gate: Callable[[], None]) -> None:
        raise NotImplementedError


if __name__ == "__main__":
    main(_Reactorcide(), uvloop.run)
