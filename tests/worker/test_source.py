"""A job's files come from a commit or a directory, and from nowhere else."""

import asyncio
import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.worker.copying import copy_tree
from reactorcide.worker.environment import mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command
from reactorcide.worker.secrets import open_all
from reactorcide.worker.source import Halted, Place, fetch_source
from reactorcide.worker.workspace import PreparationFailed, Workspace, make_workspace

GIT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


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


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    ended = subprocess.run(
        ["git", *arguments], cwd=folder, env=GIT, check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


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


async def test_the_directory_is_there_without_a_source(workspace: Workspace, roots: Path) -> None:
    """And empty."""
    assert not list((await fetch(workspace, roots)).iterdir())


@pytest.mark.parametrize(
    ("ref", "text"), [(None, "second"), ("main", "second"), ("side", "aside"), ("v1", "first")]
)
async def test_git_brings_a_branch_or_a_tag(
    workspace: Workspace, roots: Path, repository: Path, ref: str | None, text: str
) -> None:
    """And the default branch when none is named."""
    src = await fetch(workspace, roots, source_type="git", git_url=repository.as_uri(), git_ref=ref)
    assert (src / "file").read_text() == text


@pytest.mark.parametrize("length", [40, 10])
async def test_git_brings_a_commit(
    workspace: Workspace, roots: Path, repository: Path, length: int
) -> None:
    """By its whole name or the beginning of it."""
    commit = git(repository, "rev-parse", "v1")[:length]
    src = await fetch(
        workspace, roots, source_type="git", git_url=repository.as_uri(), git_ref=commit
    )
    assert (src / "file").read_text() == "first"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"git_ref": "no-such-branch"}, "no branch, tag or commit"),
        ({"git_ref": "--upload-pack=touch /tmp/x"}, "begins with a dash"),
        ({"git_url": "file:///etc"}, "not below a directory"),
        ({"git_url": "https://user:hunter2@127.0.0.1:1/x.git"}, "git failed"),
        ({"git_url": "ext::sh -c true"}, "no https, ssh, git or file"),
        ({"git_url": "git@example.org:x.git"}, "no https, ssh, git or file"),
        ({"git_ref": "deadbeef"}, "no branch, tag or commit"),
        ({"git_ref": "0" * 40}, "no branch, tag or commit"),
        ({"git_ref": "refs/heads/missing"}, "git failed: fatal: couldn't find remote ref"),
        ({"git_ref": "*"}, "git failed"),
    ],
)
async def test_what_git_cannot_bring_is_a_clear_failure(
    workspace: Workspace, roots: Path, repository: Path, fields: dict[str, str], words: str
) -> None:
    """Nothing asks for a password, none is in the reason, and nothing else is run."""
    wanted: dict[str, Any] = {"source_type": "git", "git_url": repository.as_uri(), **fields}
    with pytest.raises(PreparationFailed, match=words) as failure:
        await fetch(workspace, roots, **wanted)
    assert "hunter2" not in failure.value.detail


async def test_a_named_ref_is_fetched_alone(
    workspace: Workspace, roots: Path, repository: Path, runner: ProcessRunner
) -> None:
    """A branch, and a whole commit: no history comes along, and the remote is known."""
    for folder, ref in (("/job/a", "main"), ("/job/b", git(repository, "rev-parse", "side"))):
        place = Place(workspace, (roots,), mark_of(new_id(), 1), runner)
        url = repository.as_uri()
        wanted = request(source_type="git", git_url=url, git_ref=ref, code_dir=folder)
        await fetch_source(wanted, place, Halt())
        path = workspace.path_of(folder)
        assert git(path, "rev-list", "--count", "HEAD") == "1"
        assert git(path, "remote", "get-url", "origin") == url


async def test_a_repository_brings_no_hook_and_no_submodule(
    workspace: Workspace, roots: Path, repository: Path, tmp_path: Path
) -> None:
    """Nothing of it runs before the job's own command does."""
    template = tmp_path / "template" / "hooks"
    template.mkdir(parents=True)
    (template / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (template / "post-checkout").chmod(0o755)
    (workspace.root / ".gitconfig").write_text(f"[init]\ntemplateDir = {tmp_path}/template\n")
    (repository / ".gitmodules").write_text('[submodule "x"]\npath = x\nurl = ../repository\n')
    git(repository, "add", ".gitmodules")
    git(
        repository,
        "update-index",
        "--add",
        "--cacheinfo",
        f"160000,{git(repository, 'rev-parse', 'v1')},x",
    )
    git(repository, "commit", "--quiet", "--message", "sub")
    src = await fetch(workspace, roots, source_type="git", git_url=repository.as_uri())
    assert not (tmp_path / "ran").exists()
    assert not list((src / "x").iterdir())


@pytest.mark.parametrize("way", ["gitfile", "link", "alternates", "objects"])
async def test_a_repository_below_the_roots_leads_nowhere_else(
    workspace: Workspace, roots: Path, tmp_path: Path, way: str
) -> None:
    """By whatever way git would read what is outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    git(outside, "init", "--quiet", "--initial-branch=main")
    (outside / "file").write_text("hunter2")
    git(outside, "add", "file")
    git(outside, "commit", "--quiet", "--message", "secret")
    inside = roots / "inside"
    inside.mkdir()
    if way == "gitfile":
        (inside / ".git").write_text(f"gitdir: {outside}/.git\n")
    elif way == "link":
        (inside / ".git").symlink_to(outside / ".git")
    else:
        git(inside, "init", "--quiet", "--initial-branch=main")
        if way == "objects":
            shutil.rmtree(inside / ".git" / "objects")
            (inside / ".git" / "objects").symlink_to(outside / ".git" / "objects")
        else:
            (inside / ".git/objects/info/alternates").write_text(f"{outside}/.git/objects\n")
        (inside / ".git/refs/heads/main").write_text(git(outside, "rev-parse", "HEAD") + "\n")
    with pytest.raises(PreparationFailed, match="leads out of the directories"):
        await fetch(workspace, roots, source_type="git", git_url=inside.as_uri())


@pytest.fixture
def server(repository: Path) -> Iterator[tuple[str, list[str]]]:
    """A git server that wants a password: its address, and what it was told as such."""
    told: list[str] = []
    backend = Path(git(repository, "--exec-path")) / "git-http-backend"

    class Answering(BaseHTTPRequestHandler):
        def answer(self) -> None:
            told.append(self.headers.get("Authorization", ""))
            if told[-1] != "Basic " + base64.b64encode(b"me:open sesame/@").decode():
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            done = subprocess.run(
                [backend],
                env={
                    **GIT,
                    "GIT_PROJECT_ROOT": str(repository.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                    "CONTENT_LENGTH": str(len(body)),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
                },
                input=body,
                capture_output=True,
                check=True,
            )
            head, _, rest = done.stdout.partition(b"\r\n\r\n")
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + head + b"\r\n\r\n" + rest)

        do_GET = answer  # noqa: N815  as the library has it
        do_POST = answer  # noqa: N815  as above

        def log_message(self, *_words: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"127.0.0.1:{listening.server_port}", told
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("is_sealed", [True, False])
async def test_a_password_reaches_the_server_and_stays_nowhere(  # noqa: PLR0913, PLR0917  fixtures
    workspace: Workspace,
    roots: Path,
    server: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    is_sealed: bool,  # noqa: FBT001  two ways to the same,
    runner: ProcessRunner,
) -> None:
    """Neither among the arguments of any program nor in a file; a wrong one asks nobody."""
    monkeypatch.setattr("reactorcide.worker.git.SCHEMES", frozenset({"http"}))
    seen: list[str] = []
    run = ProcessRunner.run

    async def watched(self: ProcessRunner, command: Command, *rest: Any) -> Any:
        seen.extend(command.argv)
        return await run(self, command, *rest)

    monkeypatch.setattr(ProcessRunner, "run", watched)
    host, told = server
    credentials = "me:open%20sesame%2F%40"
    secrets = await open_all({"=git_url": credentials} if is_sealed else {})
    url = f"http://{'' if is_sealed else credentials + '@'}{host}/repository/.git"
    place = Place(workspace, (roots,), mark_of(new_id(), 1), runner)
    wanted = request(source_type="git", git_url=url, git_ref="main")
    await fetch_source(wanted, place, Halt(), secrets)
    assert (workspace.source / "file").read_text() == "second"
    assert any(told)
    assert "sesame" not in " ".join(seen)
    for path in workspace.root.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes()
    wrong = request(source_type="git", git_url=f"http://me:wrong0word@{host}/repository/.git")
    with pytest.raises(PreparationFailed, match="git failed") as failure:
        await fetch_source(
            wanted.model_copy(update={"git_url": wrong.git_url, "code_dir": "/job/x"}),
            place,
            Halt(),
        )
    assert "wrong0word" not in failure.value.detail


async def test_a_full_disk_is_a_clear_failure(workspace: Workspace, roots: Path) -> None:
    """Of a copy: what the system says stands in the reason."""
    (roots / "tree").mkdir()
    (roots / "tree" / "big").write_bytes(bytes(4_000_000))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from reactorcide.worker.copying import copy_tree\n"
        "from reactorcide.worker.halt import Halt\n"
        "from reactorcide.worker.workspace import PreparationFailed\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: copy_tree(sys.argv[1] + '/tree', [Path(sys.argv[1])], Path(sys.argv[2]), Halt())\n"
        "except PreparationFailed as error: print(error.detail)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, str(roots), str(workspace.source)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "could not be copied: File too large" in done.stdout


async def test_a_name_that_becomes_a_link_is_not_followed(
    workspace: Workspace, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late: between the look at it and its opening."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("hunter2")
    for name in ("directory", "file"):
        tree = roots / name
        (tree / "directory").mkdir(parents=True)
        (tree / "file").write_text("mine")
        look = os.stat

        def swap(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
            found = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)  # noqa: B023  used at once
            if path == name and dir_fd is not None:  # noqa: B023  as above
                (tree / name).rename(tree / "moved")  # noqa: B023  as above
                outside = tmp_path / "outside" / ("file" if name == "file" else "")  # noqa: B023
                (tree / name).symlink_to(outside)  # noqa: B023  as above
            return found

        with monkeypatch.context() as patched:
            patched.setattr("reactorcide.worker.copying.os.stat", swap)
            with pytest.raises(PreparationFailed, match="could not be copied"):
                copy_tree(str(tree), (roots,), workspace.path_of(f"/job/{name}"), Halt())
    assert not any(
        path.is_file() and path.read_text() == "hunter2" for path in workspace.root.rglob("*")
    )


async def test_a_halt_stops_git(workspace: Workspace, roots: Path, repository: Path) -> None:
    """Before the attempt's command was ever started."""
    halt = Halt()
    halt.ask(HaltReason.CANCEL, 0)
    with pytest.raises(Halted):
        await fetch(workspace, roots, halt, source_type="git", git_url=repository.as_uri())


async def test_copy_brings_a_tree_as_it_is(workspace: Workspace, roots: Path) -> None:
    """With its modes; links stay links, wherever they lead."""
    (roots / "tree" / "sub").mkdir(parents=True)
    (roots / "tree" / "sub" / "run").write_text("x")
    (roots / "tree" / "sub" / "run").chmod(0o755)
    (roots / "tree" / "away").symlink_to("/etc/passwd")
    src = await fetch(workspace, roots, source_type="copy", source_path=str(roots / "tree"))
    assert os.access(src / "sub" / "run", os.X_OK)
    assert (src / "away").readlink() == Path("/etc/passwd")


async def test_copy_reads_only_below_the_roots(
    workspace: Workspace, roots: Path, tmp_path: Path
) -> None:
    """However the way out is written; what is outside is not even said to exist."""
    (tmp_path / "outside").mkdir()
    (roots / "link").symlink_to(tmp_path / "outside")
    for path in (
        str(tmp_path / "outside"),
        str(tmp_path / "missing"),
        str(roots / ".." / "outside"),
        str(roots / "link"),
        str(roots) + "-not",
        "relative",
        "",
    ):
        with pytest.raises(PreparationFailed, match="not below a directory"):
            await fetch(workspace, roots, source_type="copy", source_path=path)


async def test_copy_says_what_is_missing_or_no_file(workspace: Workspace, roots: Path) -> None:
    """A pipe would never end."""
    with pytest.raises(PreparationFailed, match="not a directory"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots / "missing"))
    os.mkfifo(roots / "pipe")
    with pytest.raises(PreparationFailed, match="neither a file"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots))
