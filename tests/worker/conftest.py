"""Fixtures of the worker's tests."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from structlog.typing import EventDict

from reactorcide.eventstore.database import Database
from reactorcide.tests.worker.engines import leave, podman_settings
from reactorcide.tests.worker.handler_bench import HANDLERS, Bench, bench_of, caught_lines
from reactorcide.tests.worker.handlers_at_work import CALLED, GO
from reactorcide.tests.worker.jobs_at_work import AtWork, Desk, desk_of, settings_for, working
from reactorcide.tests.worker.sources_at_work import git
from reactorcide.tests.worker.walls_at_work import Holders, close_runners
from reactorcide.worker import claim_scan
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.settings import WorkerSettings
from reactorcide.worker.workspace import Workspace, make_workspace

# How long an example takes is no claim: where a machine is loaded it would fail now and then.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _no_look_is_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call no look dear because other tests keep the machine busy (see test_latest_jobs)."""
    monkeypatch.setattr(claim_scan, "DEAR_SECONDS", 3600.0)


@pytest.fixture
async def runner() -> AsyncIterator[ProcessRunner]:
    """Runs commands, with a supervisor of its own."""
    opened = ProcessRunner()
    yield opened
    await opened.close()


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    """Submits jobs, asks for stops, looks at what became of them."""
    async with desk_of(database) as opened:
        yield opened


@pytest.fixture(name="settings")
def storing(tmp_path: Path, store_url: str) -> WorkerSettings:
    """A worker that keeps artifacts in the test's store."""
    return settings_for(tmp_path, object_store_url=store_url)


@pytest.fixture
async def bench(database: Database, desk: Desk, tmp_path: Path) -> AsyncIterator[Bench]:
    """Works on the attempts of handlers, one by one."""
    async with bench_of(desk, database, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def podman_here() -> Iterator[dict[str, str]]:
    """Settings of a podman of these tests' own."""
    # A short path: podman cleans up by its `--runroot`, which may have 50 letters. With more of
    # them its cleaning fails, and every `run` waits 20 s for it.
    folder = Path(tempfile.mkdtemp(prefix="rc-pod-"))
    settings = podman_settings(folder)
    yield settings
    leave(settings, folder)


@pytest.fixture
async def runners_end() -> AsyncIterator[None]:
    """What runs plain commands is closed after the test."""
    yield
    await close_runners()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A fresh workspace."""
    return make_workspace(tmp_path / "workspaces")


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    """A directory that the worker may copy from."""
    folder = tmp_path / "roots"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(roots: Path) -> Path:
    """Two commits on main, the first one tagged; another one on a branch."""
    folder = roots / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, after in (("first", ("tag", "v1")), ("second", ("branch", "side"))):
        (folder / "file").write_text(name)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "--message", name)
        git(folder, *after)
    git(folder, "checkout", "--quiet", "side")
    (folder / "file").write_text("aside")
    git(folder, "commit", "--quiet", "--all", "--message", "aside")
    git(folder, "checkout", "--quiet", "main")
    return folder


@pytest.fixture
def holders(workspace: Workspace) -> Iterator[Holders]:
    """Who is left of a command that holds on to a pipe of the workspace."""
    found = Holders(workspace)
    yield found
    found.close()


@pytest.fixture
def fresh_handlers() -> Iterator[None]:
    """Handlers that nobody has called; those that still wait go on in the end."""
    GO.clear()
    CALLED.clear()
    yield
    GO.set()


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """What the worker logs."""
    with caught_lines() as found:
        yield found


@pytest.fixture
async def at_work(database: Database, tmp_path: Path) -> AsyncIterator[AtWork]:
    """A worker with handlers and four slots."""
    async with working(database, settings_for(tmp_path, concurrency=4), HANDLERS) as opened:
        yield opened
