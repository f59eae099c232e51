"""A worker whose server falls silent goes on by itself once a server answers again."""

from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.support.silent_line import SilentLine
from reactorcide.tests.worker.jobs_at_work import Desk, settings_for, working


async def test_a_worker_takes_work_after_its_server_fell_silent(
    line: SilentLine, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its looks, claims, beats and outcomes: none of them hangs for good."""
    monkeypatch.setattr("reactorcide.eventstore.brief_pool._BACK_SECONDS", 0.2)
    monkeypatch.setattr("reactorcide.eventstore.database.WRITE_SECONDS", 0.5)
    monkeypatch.setattr("reactorcide.worker.direct._READ_SECONDS", 0.5)
    settings = settings_for(tmp_path, lease_seconds=3.0, poll_seconds=0.2)
    async with working(Database(line.uri), settings):
        await desk.ends(await desk.submit())
        held = await desk.submit("sleep 1")
        await desk.becomes(held, Status.RUNNING)
        line.fall_silent()
        ended = [await desk.ends(one) for one in (await desk.submit(), held)]
        assert {job.state.status for job in ended} == {Status.COMPLETED}
