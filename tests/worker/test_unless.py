"""A wait that is broken off by a stop: at once, and hiding nothing that the wait has to say."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reactorcide.worker.unless import unless


class Wait:
    """Something to wait for; says when it was begun, and whether it was broken off."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ends = asyncio.Event()
        self.is_broken_off = False

    async def __call__(self) -> None:
        """Wait for `ends`."""
        self.begun.set()
        try:
            await self.ends.wait()
        except asyncio.CancelledError:
            self.is_broken_off = True
            raise


@pytest.fixture
async def stop() -> asyncio.Event:
    """What stops the wait."""
    return asyncio.Event()


@pytest.fixture
async def stopped(stop: asyncio.Event) -> AsyncIterator["asyncio.Task[bool]"]:
    """A task that is done when `stop` is set."""
    task = asyncio.create_task(stop.wait())
    yield task
    task.cancel()
    await asyncio.wait({task})


async def test_a_stop_ends_the_wait(stop: asyncio.Event, stopped: "asyncio.Task[bool]") -> None:
    """It is broken off, nothing is raised, and the caller goes on."""
    wait = Wait()
    async with asyncio.timeout(30):
        waiting = asyncio.create_task(unless(stopped, wait()))
        await wait.begun.wait()
        stop.set()
        await waiting
    assert wait.is_broken_off


async def test_after_a_stop_nothing_is_waited_for(
    stop: asyncio.Event, stopped: "asyncio.Task[bool]"
) -> None:
    """Who begins to wait when the stop has been ends as well."""
    stop.set()
    await stopped
    wait = Wait()
    async with asyncio.timeout(30):
        await unless(stopped, wait())
    assert wait.is_broken_off


async def test_a_wait_that_ends_leaves_nothing_behind(
    stop: asyncio.Event, stopped: "asyncio.Task[bool]"
) -> None:
    """The stop may come later, or in the same turn; who waited is not touched by it."""
    early, late = Wait(), Wait()
    early.ends.set()
    async with asyncio.timeout(30):
        await unless(stopped, early())
        waiting = asyncio.create_task(unless(stopped, late()))
        await late.begun.wait()
        stop.set()
        late.ends.set()
        await waiting
        await stopped
        await asyncio.sleep(0)
    assert not early.is_broken_off


@pytest.mark.parametrize("error", [LookupError("of its own"), TimeoutError("of its own")])
async def test_what_the_wait_raises_is_raised(
    stopped: "asyncio.Task[bool]", error: Exception
) -> None:
    """Also a timeout, which is not the stop's."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error), match="of its own"):
        await unless(stopped, fail())


async def test_a_cancelled_caller_is_cancelled(stopped: "asyncio.Task[bool]") -> None:
    """A cancellation from elsewhere is not taken for the stop."""
    wait = Wait()
    waiting = asyncio.create_task(unless(stopped, wait()))
    async with asyncio.timeout(30):
        await wait.begun.wait()
        waiting.cancel()
        await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert wait.is_broken_off
