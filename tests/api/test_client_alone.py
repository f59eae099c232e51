"""The client stands alone, and its page says what is true."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from reactorcide.api.services import Services
from reactorcide.tests.api import work
from reactorcide.tests.api.conftest import token_for
from reactorcide.tests.api.serving import serving
from reactorcide.tests.api.work import Piece

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = re.findall(
    r"^```python\n(.*?)^```",
    (ROOT / "docs" / "client.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
SERVERS: Final = {"asyncpg", "psycopg", "starlette", "uvicorn", "structlog"}


def test_the_client_loads_nothing_of_the_server() -> None:
    """Neither our other modules nor what they stand on."""
    program = (
        "import sys; from reactorcide.api.client import Client, AsyncClient; print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    loaded = set(ran.stdout.split())
    assert not {name.partition(".")[0] for name in loaded} & SERVERS
    ours = {name for name in loaded if name.startswith("reactorcide.")}
    assert {name for name in ours if not name.startswith("reactorcide.api.client")} == {
        "reactorcide.api"
    }


def test_its_contract_names_the_whole_server() -> None:
    """A new room, or a new module of the API, is forbidden to it as well."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (contract,) = (
        one
        for one in settings["contracts"]
        if one.get("source_modules") == ["reactorcide.api.client"]
    )
    rooms = set(settings["root_packages"]) - {"reactorcide.api"}
    modules = {
        f"reactorcide.api.{path.stem}"
        for path in (ROOT / "api").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    forbidden = rooms | modules - {"reactorcide.api.__init__", "reactorcide.api.client"}
    assert forbidden <= set(contract["forbidden_modules"])


async def work_off(services: Services) -> None:
    """Do what a worker would with whatever is queued, until cancelled."""
    queued = "SELECT job_id FROM jobs WHERE status = 'queued' ORDER BY job_id"
    with services.doorbell.listen("jobs") as listener:
        while True:
            for row in await services.pool.fetch(queued):
                job_id = str(row["job_id"])
                await work.start(services, job_id)
                await work.say(services, job_id, Piece(1, b"said\n"))
                await work.leave(services, job_id, {"note": b"kept\n"})
                await work.finish(services, job_id)
            await listener.wait(30)  # until the example submits the next


@pytest.mark.parametrize(
    ("example", "said"),
    [
        *zip(
            EXAMPLES,
            (
                "completed b'said\\n'",
                "part 0",
                "stdout b'said\\n'",
                "note 5 b'kept\\n'",
                "too late: completed",
            ),
            strict=True,
        )
    ],
)
async def test_an_example_of_the_page_runs(services: Services, example: str, said: str) -> None:
    """As it stands, in a program of its own, with the environment to find the API by."""
    token, _ = await token_for(services, "una")
    async with serving(services) as url:
        working = asyncio.create_task(work_off(services))
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            example,
            env={**os.environ, "REACTORCIDE_API_URL": url, "REACTORCIDE_API_TOKEN": token},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(30):
            output, _ = await program.communicate()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert program.returncode == 0, output.decode()
    assert said in output.decode()
