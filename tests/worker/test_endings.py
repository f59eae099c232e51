"""Ends of attempts are reported together, and each gets its own answer."""

import asyncio
from collections.abc import Mapping, Sequence

from reactorcide.eventstore.domain.errors import CommandRejected, NotLeaseHolder
from reactorcide.eventstore.domain.job import Completed, Failed
from reactorcide.eventstore.ids import new_id
from reactorcide.worker.coordinator import AttemptKey, CoordinatorUnavailable, Report
from reactorcide.worker.endings import Endings


class Desk:
    """Takes reports as a coordinator does; the first answer waits until `opened`."""

    def __init__(self) -> None:
        self.endings = Endings(self.finish_all)
        self.opened = asyncio.Event()
        self.batches: list[list[Report]] = []
        self.refused: dict[AttemptKey, CommandRejected] = {}
        self.broken: AttemptKey | None = None
        self.is_away = False

    async def finish_all(self, reports: Sequence[Report]) -> Mapping[AttemptKey, CommandRejected]:
        """Take them, or fail as told."""
        self.batches.append(list(reports))
        await self.opened.wait()
        if self.is_away:
            raise CoordinatorUnavailable("away")
        if self.broken in {report.key for report in reports}:
            msg = "broken"
            raise ValueError(msg)
        return self.refused


def report(outcome: Completed | Failed = Completed()) -> Report:  # noqa: B008  frozen
    """Return how some attempt ended."""
    return Report(AttemptKey(new_id(), 1), outcome)


async def started(desk: Desk, *reports: Report) -> list["asyncio.Task[None]"]:
    """Report the first, and the others while it is on its way."""
    tasks = [asyncio.create_task(desk.endings.finish(reports[0]))]
    await on_their_way(desk, 1)
    return tasks + [asyncio.create_task(desk.endings.finish(one)) for one in reports[1:]]


async def on_their_way(desk: Desk, batches: int) -> None:
    """Wait until so many have been sent: it is all in this loop."""
    while len(desk.batches) < batches:  # noqa: ASYNC110  as said
        await asyncio.sleep(0)


async def test_what_ends_meanwhile_goes_together() -> None:
    """A lone end goes at once; those that come while it is on its way go in one report."""
    desk = Desk()
    reports = [report() for _ in range(5)]
    tasks = await started(desk, *reports)
    desk.opened.set()
    await asyncio.gather(*tasks)
    assert desk.batches == [reports[:1], reports[1:]]


async def test_one_is_refused_alone() -> None:
    """Its neighbours are heard."""
    desk = Desk()
    reports = [report() for _ in range(3)]
    desk.refused[reports[1].key] = NotLeaseHolder(1, 1, "no longer held")
    tasks = await started(desk, *reports)
    desk.opened.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), NotLeaseHolder, type(None)]


async def test_one_that_breaks_the_report_breaks_alone() -> None:
    """The others are reported each by itself."""
    desk = Desk()
    reports = [report() for _ in range(4)]
    desk.broken = reports[2].key
    tasks = await started(desk, *reports)
    desk.opened.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [*[type(None)] * 2, ValueError, type(None)]


async def test_all_hear_that_nobody_can_be_reached() -> None:
    """Each says it again by itself, and keeps it meanwhile."""
    desk = Desk()
    desk.is_away = True
    tasks = await started(desk, *(report() for _ in range(3)))
    desk.opened.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [CoordinatorUnavailable] * 3


async def test_one_who_is_cancelled_leaves_nobody_waiting() -> None:
    """Though it was the one that reported for others: they hear so, and say it again."""
    desk = Desk()
    reports = [report() for _ in range(3)]
    first, second, third = await started(desk, *reports)
    first.cancel()
    await on_their_way(desk, 2)
    second.cancel()
    answers = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        *[asyncio.CancelledError] * 2,
        CoordinatorUnavailable,
    ]
    desk.opened.set()
    await desk.endings.finish(reports[2])
    assert desk.batches == [reports[:1], reports[1:], reports[2:]]
