"""A job's files come from a commit, and nothing of the repository runs on the way."""

import base64
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reactorcide.eventstore.ids import new_id
from reactorcide.tests.worker.jobs_at_work import request
from reactorcide.tests.worker.sources_at_work import GIT, fetch, git
from reactorcide.worker.environment import mark_of
from reactorcide.worker.halt import Halt, HaltReason
from reactorcide.worker.process_runner import ProcessRunner
from reactorcide.worker.runner import Command
from reactorcide.worker.secrets import open_all
from reactorcide.worker.source import Halted, Place, fetch_source
from reactorcide.worker.workspace import PreparationFailed, Workspace


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


async def test_a_halt_stops_git(workspace: Workspace, roots: Path, repository: Path) -> None:
    """Before the attempt's command was ever started."""
    halt = Halt()
    halt.ask(HaltReason.CANCEL, 0)
    with pytest.raises(Halted):
        await fetch(workspace, roots, halt, source_type="git", git_url=repository.as_uri())
