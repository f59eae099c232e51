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
    """Though the report was begun for it: what has ended has ended, and the others are heard."""
    desk = Desk()
    reports = [report() for _ in range(3)]
    first, second, third = await started(desk, *reports)
    await asyncio.sleep(0)  # they have said so
    first.cancel()
    second.cancel()
    desk.opened.set()
    answers = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(answer) for answer in answers] == [*[asyncio.CancelledError] * 2, type(None)]
    assert desk.batches == [reports[:1], reports[1:]]


async def test_ends_wait_for_each_other_while_there_is_more_to_do() -> None:
    """One that comes soon after another waits, with those that come meanwhile, but not long."""
    desk = Desk()
    desk.opened.set()
    desk.endings.expect(more=True)
    reports = [report() for _ in range(4)]
    await desk.endings.finish(reports[0])
    tasks = [asyncio.create_task(desk.endings.finish(one)) for one in reports[1:]]
    await asyncio.gather(*tasks)
    assert desk.batches == [reports[:1], reports[1:]]


async def test_nobody_waits_when_there_is_nothing_more_to_do() -> None:
    """A claim that found nothing lets the end go that waits already."""
    desk = Desk()
    desk.opened.set()
    desk.endings.expect(more=True)
    await desk.endings.finish(report())
    waiting = asyncio.create_task(desk.endings.finish(report()))
    for _ in range(10):
        await asyncio.sleep(0)
    desk.endings.expect(more=False)
    for _ in range(10):
        await asyncio.sleep(0)
    assert waiting.done()
    assert len(desk.batches) == 2


async def test_closed_it_leaves_nobody_waiting() -> None:
    """Who waits for an answer, or for a report, is told that nobody was reached."""
    desk = Desk()
    tasks = await started(desk, report(), report())
    await asyncio.sleep(0)  # they have said so
    await desk.endings.close()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [CoordinatorUnavailable] * 2
