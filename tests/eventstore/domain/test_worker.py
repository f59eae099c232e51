"""A worker is registered, drained, stopped."""

import pytest

from reactorcide.eventstore.domain.errors import IllegalTransition, NotFound, NotLegal
from reactorcide.eventstore.domain.events import WorkerDrained, WorkerEvent, WorkerStopped
from reactorcide.eventstore.domain.worker import (
    WORKER,
    DrainWorker,
    RegisterWorker,
    StopWorker,
    WorkerCommand,
    WorkerStatus,
)
from reactorcide.tests.eventstore.domain.given import Story
from reactorcide.tests.eventstore.domain.samples import WORKER_REGISTERED

given = Story(WORKER).given

DRAINED = WorkerDrained()
STOPPED = WorkerStopped(reason="SIGTERM")


def test_a_worker_is_registered() -> None:
    """It is active from then on."""
    state = given().when(RegisterWorker(WORKER_REGISTERED)).then(WORKER_REGISTERED)
    assert (state.status, state.registered) == (WorkerStatus.ACTIVE, WORKER_REGISTERED)


def test_registering_the_same_again_adds_nothing() -> None:
    """The answer to the first may have been lost."""
    given(WORKER_REGISTERED).when(RegisterWorker(WORKER_REGISTERED)).then()


def test_an_id_is_not_given_to_a_second_worker() -> None:
    """Each start is a worker of its own."""
    other = WORKER_REGISTERED.model_copy(update={"pid": 8})
    given(WORKER_REGISTERED).when(RegisterWorker(other)).refused(NotLegal)


def test_a_worker_is_drained() -> None:
    """It takes no new work."""
    state = given(WORKER_REGISTERED).when(DrainWorker()).then(DRAINED)
    assert state.status is WorkerStatus.DRAINING


def test_draining_again_adds_nothing() -> None:
    """A second signal says the same."""
    given(WORKER_REGISTERED, DRAINED).when(DrainWorker()).then()


@pytest.mark.parametrize("history", [(WORKER_REGISTERED,), (WORKER_REGISTERED, DRAINED)])
def test_a_worker_is_stopped(history: tuple[WorkerEvent, ...]) -> None:
    """With or without draining before."""
    state = given(*history).when(StopWorker("SIGTERM")).then(STOPPED)
    assert state.status is WorkerStatus.STOPPED


def test_stopping_again_adds_nothing() -> None:
    """Whatever the second reason."""
    given(WORKER_REGISTERED, STOPPED).when(StopWorker("again")).then()


def test_a_stopped_worker_does_not_drain() -> None:
    """It has nothing left to end."""
    stopped = given(WORKER_REGISTERED, STOPPED)
    assert stopped.when(DrainWorker()).refused(NotLegal).current_status == "stopped"


@pytest.mark.parametrize("command", [DrainWorker(), StopWorker("SIGTERM")])
def test_a_worker_that_is_not_there_cannot_end(command: WorkerCommand) -> None:
    """There is no such worker."""
    assert given().when(command).refused(NotFound).kind == "worker"


def test_a_corrupt_history_is_told() -> None:
    """Nothing follows the end of a worker."""
    with pytest.raises(IllegalTransition, match=r"worker\.drained does not follow worker stopped"):
        given(WORKER_REGISTERED, STOPPED, DRAINED)
