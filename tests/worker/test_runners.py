"""A worker's runner is chosen by its name, and found to work before it takes jobs."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, settings_for, working
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Runner
from reactorcide.worker.runners import WallSettings, runner_of
from reactorcide.worker.walls import WallsUnusable

ENVIRON = dict(os.environ)


_opened: list[ProcessRunner] = []


def plain_runner() -> ProcessRunner:
    """Return a runner that is closed when the test ends."""
    _opened.append(ProcessRunner())
    return _opened[-1]


@pytest.fixture(autouse=True)
async def _ends() -> AsyncIterator[None]:
    yield
    while _opened:
        await _opened.pop().close()


async def bubblewrap() -> Runner:
    """Return a runner with walls, or skip."""
    try:
        return await runner_of("bubblewrap", plain_runner(), WallSettings(), ENVIRON)
    except WallsUnusable as error:
        pytest.skip(error.detail)


async def test_process_has_no_walls() -> None:
    """It is whatever starts commands otherwise."""
    plain = plain_runner()
    assert await runner_of("process", plain, WallSettings(), ENVIRON) is plain


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("process", WallSettings(network=False), "--no-network needs"),
        ("process", WallSettings(image="x"), "need --runner container"),
        ("bubblewrap", WallSettings(container_options=("--memory=1g",)), "need --runner container"),
    ],
)
async def test_settings_that_mean_nothing_are_refused(
    name: str, settings: WallSettings, words: str
) -> None:
    """Nobody believes in walls that are not there."""
    with pytest.raises(WallsUnusable, match=words):
        await runner_of(name, plain_runner(), settings, ENVIRON)


async def test_a_worker_runs_jobs_within_walls(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """With their secrets, their long commands and their directory; all of it is gone at the end."""
    runner = await bubblewrap()
    async with working(database, settings_for(tmp_path), runner=runner):
        sealed = {"TOKEN": SEALER.seal("hunter2hunter2", "TOKEN")}
        job_id = await desk.submit(
            'pwd; echo "$REACTORCIDE_ARTIFACTS_DIR $TOKEN ${#TOKEN}"; ls -A /tmp; exit 5 #'
            + "x" * 120_000,
            sealed_env_vars=sealed,
            job_dir="/job/src",
        )
        job = await desk.ends(job_id)
        assert (job.state.status, job.state.exit_code) == (Status.FAILED, 5)
        assert await desk.log(job_id) == b"/job/src\n/artifacts *** 14\ncommand.sh\n"
        assert not list((tmp_path / "workspaces").iterdir())
