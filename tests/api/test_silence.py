"""A request whose database says nothing gets an answer in time, and the next one is served."""

import asyncio
from dataclasses import replace

import pytest

from reactorcide.api.services import open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.tests.api.conftest import JOB, client_of, token_for
from reactorcide.tests.support.silent_line import SilentLine


async def test_a_silent_database_is_503_and_then_served_again(
    settings: ApiSettings, line: SilentLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads and submissions alike; nothing hangs, and nothing needs to be started again."""
    monkeypatch.setattr("reactorcide.eventstore.database.READ_SECONDS", 0.5)
    monkeypatch.setattr("reactorcide.eventstore.database.WRITE_SECONDS", 0.5)
    monkeypatch.setattr("reactorcide.eventstore.brief_pool._BACK_SECONDS", 0.2)
    async with asyncio.timeout(60), open_services(replace(settings, database_uri=line.uri)) as api:
        token, _ = await token_for(api, "una")
        async with client_of(api, token) as user:
            job_id = (await user.post("/api/v1/jobs", json=JOB)).json()["job_id"]
            line.fall_silent()
            assert (await user.get(f"/api/v1/jobs/{job_id}")).status_code == 503
            while (await user.get(f"/api/v1/jobs/{job_id}")).status_code != 200:
                pass
            line.fall_silent()
            while (await user.post("/api/v1/jobs", json=JOB)).status_code != 201:
                pass
