"""What the tests of sources share: git as one would run it, and fetching."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.environment import mark_of
from reactorcide.worker.halt import Halt
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.source import Place, fetch_source
from reactorcide.worker.workspace import Workspace

GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    ended = subprocess.run(
        ["git", *arguments], cwd=folder, env=GIT, check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


async def fetch(workspace: Workspace, roots: Path, halt: Halt | None = None, **fields: Any) -> Path:
    """Fetch a job's source; return where the job finds it."""
    runner = ProcessRunner()
    place = Place(workspace, (roots,), mark_of(new_id(), 1), runner)
    try:
        async with asyncio.timeout(30):
            await fetch_source(request(**fields), place, halt or Halt())
    finally:
        await runner.close()
    return workspace.path_of("/job/src")
