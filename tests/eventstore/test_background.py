"""Tasks beside the requests: they begin and end with their owner, and none dies unheard of."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from reactorcide.eventstore.background import Background

LONG = 30.0


class Lasting:
    """Work that notes its beginning and its end; `stubborn` holds its end back."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.has_ended = False
        self._stubborn = stubborn

    async def work(self) -> None:
        """Last until cancelled."""
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if self._stubborn:
                await self.may_end.wait()
            self.has_ended = True


async def test_all_run_under_their_names_until_they_are_stopped() -> None:
    """When `stop` returns nothing of them is left; once more, or too early, it does nothing."""
    one, other = Lasting(), Lasting()
    background = Background({"one": one.work, "other": other.work})
    await background.stop()
    background.start()
    async with asyncio.timeout(LONG):
        await one.has_begun.wait()
        await other.has_begun.wait()
        assert {"one", "other"} <= {task.get_name() for task in asyncio.all_tasks()}
        with capture_logs() as logs:
            await background.stop()
    assert one.has_ended
    assert other.has_ended
    assert logs == []
    await background.stop()
    background.check()


async def test_a_task_that_does_not_end_is_left_behind_by_name() -> None:
    """The owner's end waits for it so long and no longer."""
    stubborn = Lasting(stubborn=True)
    background = Background({"stubborn": stubborn.work, "other": Lasting().work})
    background.start()
    async with asyncio.timeout(LONG):
        await stubborn.has_begun.wait()
        with capture_logs() as logs:
            await background.stop(0.05)
        assert not stubborn.has_ended
        stubborn.may_end.set()
        await _until(lambda: stubborn.has_ended)
    (line,) = logs
    assert line["event"] == "background_task_left_behind"
    assert line["task"] == "stubborn"


async def test_a_task_that_dies_is_said_at_once_and_the_others_go_on() -> None:
    """With what it died of; it is raised for who asks, and `stop` ends the others all the same."""
    living, death = Lasting(), ValueError("a defect")

    async def die() -> None:
        await living.has_begun.wait()
        raise death

    background = Background({"dying": die, "living": living.work})
    with capture_logs() as logs:
        background.start()
        async with asyncio.timeout(LONG):
            await _until(lambda: bool(logs))
    (line,) = logs
    assert (line["event"], line["task"]) == ("background_task_died", "dying")
    assert line["exc_info"] is death
    assert not living.has_ended
    await background.stop()
    assert living.has_ended
    with pytest.raises(ValueError, match="a defect"):
        background.check()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  what changes is said by no event
        await asyncio.sleep(0)
