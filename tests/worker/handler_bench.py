"""Where a handler's attempt is worked on by itself, on a real coordinator, without a worker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import JsonValue
from structlog.typing import EventDict, WrappedLogger

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.job import Outcome
from reactorcide.tests.worker import handlers_at_work
from reactorcide.tests.worker.jobs_at_work import (
    OWNER,
    PATIENCE_SECONDS,
    SEALER,
    Desk,
    eventually,
    settings_for,
)
from reactorcide.worker.coordinator import ClaimedAttempt, Coordinator
from reactorcide.worker.direct import open_coordinator
from reactorcide.worker.handler_attempt import Calling, call_handler
from reactorcide.worker.handler_log import keep_in_job_log
from reactorcide.worker.handler_threads import HandlerThreads
from reactorcide.worker.handlers import (
    Handlers,
    load,
)

HANDLERS: Final = load([handlers_at_work.__name__])


@dataclass
class Bench:
    """Where attempts are worked on one by one, on a real coordinator."""

    desk: Desk
    coordinator: Coordinator
    lines: list[EventDict]
    threads: HandlerThreads = field(default_factory=lambda: HandlerThreads(2))

    async def claim(self, name: str, args: JsonValue = None, **fields: Any) -> ClaimedAttempt:
        """Submit a job for a handler, claim and start it."""
        submitted = JobSubmitted(user_id=OWNER, name="job", handler=name, args=args, **fields)
        await self.desk.submit_many([submitted])
        (claimed,) = (await self.coordinator.claim(1)).attempts
        await self.coordinator.start(claimed.key)
        return claimed

    async def call(
        self,
        claimed: ClaimedAttempt,
        handlers: Handlers = HANDLERS,
        grace_seconds: float = PATIENCE_SECONDS,
    ) -> Outcome:
        """Work on it."""
        loop = asyncio.get_running_loop()
        calling = Calling(handlers, self.coordinator, self.threads, grace_seconds, loop)
        return await call_handler(claimed, calling)

    async def run(self, name: str, args: JsonValue = None, **fields: Any) -> Outcome:
        """Claim, call and report."""
        claimed = await self.claim(name, args, **fields)
        outcome = await self.call(claimed)
        await self.coordinator.finish(claimed.key, outcome)
        return outcome

    async def log(self, claimed: ClaimedAttempt) -> str:
        """Return the job's log."""
        return (await self.desk.log(claimed.key.job_id)).decode()

    async def logs(self, claimed: ClaimedAttempt, text: str) -> None:
        """Wait until the job's log has something."""
        await self.desk.prints(claimed.key.job_id, text.encode())

    def said(self, event: str) -> list[EventDict]:
        """Return the worker's own log lines of this name."""
        return [line for line in self.lines if line["event"] == event]


@contextmanager
def caught_lines() -> Iterator[list[EventDict]]:
    """Lend what the worker logs, with the processor that a worker has."""
    found: list[EventDict] = []

    def keep(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        found.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.add_log_level, keep_in_job_log, keep])
    try:
        yield found
    finally:
        structlog.reset_defaults()


@asynccontextmanager
async def bench_of(desk: Desk, database: Database, folder: Path) -> AsyncIterator[Bench]:
    """Lend a coordinator that attempts are claimed from."""
    handlers_at_work.GO.clear()
    with caught_lines() as lines:
        async with open_coordinator(settings_for(folder), database, SEALER) as coordinator:
            async with coordinator.open_beater() as beater:
                await beater.beat([])
            opened = Bench(desk, coordinator, lines)
            try:
                yield opened
            finally:
                handlers_at_work.GO.set()
                opened.threads.close()


async def called(*args: object) -> None:
    """Wait until handlers have been called with all of these."""

    async def has_been() -> bool:
        return not Counter(args) - Counter(handlers_at_work.CALLED)

    await eventually(has_been)
