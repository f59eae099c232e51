"""Clones what a job asks for with git, which is told to trust nothing that it is brought.

A password of the URL reaches git by its environment and a credential helper for that host alone:
it stands in no argument, no file and no error. No hook runs, no submodule is fetched, no other
protocol than the URL's is spoken, nobody is asked anything.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from reactorcide.eventstore.domain.git_url import without_credentials
from reactorcide.worker.copying import Halted, allowed, root_of
from reactorcide.worker.environment import base_environment
from reactorcide.worker.halt import Halt
from reactorcide.worker.runner import Command, CommandLost, CommandNotStarted, Runner, Stream
from reactorcide.worker.workspace import PreparationFailed, Workspace

SCHEMES: Final = frozenset({"https", "ssh", "git", "file"})

_ENVIRONMENT: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
_CONFIG: Final = {
    "core.hooksPath": "/dev/null",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
}
_HELPER: Final = (
    '!f() { printf "username=%s\\npassword=%s\\n" "$GIT_USERNAME_HERE" "$GIT_PASSWORD_HERE"; }; f'
)
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_ERROR_BYTES: Final = 2_000
_NO_SUCH_REF: Final = 2
_COMMIT: Final = re.compile(r"[0-9a-f]{4,64}")
_WHOLE: Final = frozenset({40, 64})
_ALL_REFS: Final = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be cloned."""

    url: str
    ref: str | None
    credentials: str | None
    """`user:password` as URLs have them; else those of the URL count."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source goes to, and what it may be taken from."""

    workspace: Workspace
    copy_roots: tuple[Path, ...]
    mark: tuple[str, ...]
    runner: Runner
    """What git is run by."""


async def clone(wanted: Wanted, target: Path, place: Place, halt: Halt) -> None:
    """Fill `target`, with one commit where that can be had. Raises PreparationFailed, Halted."""
    url, of_url = without_credentials(wanted.url)
    scheme, ref = urlsplit(url).scheme, wanted.ref
    if scheme not in SCHEMES:
        detail = "git_url is no https, ssh, git or file:// URL"
        raise PreparationFailed(detail)
    if (ref or "").startswith("-"):
        detail = f"git_ref {ref!r} begins with a dash"
        raise PreparationFailed(detail)
    if scheme == "file":
        url = _local(unquote(urlsplit(url).path), place.copy_roots).as_uri()
    git = _Git(url, wanted.credentials or of_url, place, halt)
    if ref is None:
        await git.run("clone", *_CLONE, "--depth=1", "--", url, str(target))
    elif ref.startswith("refs/"):
        await git.begin(target)
        await git.run("-C", str(target), "fetch", "--quiet", "--depth=1", "origin", ref)
        await git.run("-C", str(target), "checkout", "--quiet", "--detach", "FETCH_HEAD")
    elif await git.has_name(ref):
        await git.run("clone", *_CLONE, "--depth=1", f"--branch={ref}", "--", url, str(target))
    else:
        await _clone_commit(git, ref, target)


_CLONE: Final = ("--quiet", "--no-tags", "--template=")


async def _clone_commit(git: "_Git", ref: str, target: Path) -> None:
    """Fetch a commit alone where the other side gives it away, else all and look for it."""
    code: int | None = None
    at = ("-C", str(target))
    if _COMMIT.fullmatch(ref):
        await git.begin(target)
        fetch = (*at, "fetch", "--quiet")
        if len(ref) in _WHOLE:
            code, _ = await git.try_run(*fetch, "--depth=1", "origin", ref)
        if code != 0:
            await git.run(*fetch, "origin", *_ALL_REFS)
        code, _ = await git.try_run(
            *at, "checkout", "--quiet", "--detach", f"{ref}^{{commit}}", "--"
        )
    if code != 0:
        detail = f"git_ref {ref!r} is no branch, tag or commit of the repository"
        raise PreparationFailed(detail)


class _Git:
    """Runs git commands on behalf of one attempt."""

    def __init__(self, url: str, credentials: str | None, place: Place, halt: Halt) -> None:
        self._url = url
        self._place = place
        self._halt = halt
        parts, config = urlsplit(url), dict(_CONFIG)
        marks = dict(entry.split("=", 1) for entry in place.mark)
        self._environment = {**base_environment(place.workspace), **_ENVIRONMENT, **marks}
        self._environment["GIT_ALLOW_PROTOCOL"] = parts.scheme
        if credentials is not None:
            user, _, password = credentials.partition(":")
            self._environment["GIT_USERNAME_HERE"] = unquote(user)
            self._environment["GIT_PASSWORD_HERE"] = unquote(password)
            config[f"credential.{parts.scheme}://{parts.netloc}.helper"] = _HELPER
        self._environment["GIT_CONFIG_COUNT"] = str(len(config))
        for number, (name, value) in enumerate(config.items()):
            self._environment[f"GIT_CONFIG_KEY_{number}"] = name
            self._environment[f"GIT_CONFIG_VALUE_{number}"] = value

    async def begin(self, target: Path) -> None:
        """Make an empty repository that knows where it is from."""
        await self.run("init", "--quiet", "--template=", "--", str(target))
        await self.run("-C", str(target), "remote", "add", "--", "origin", self._url)

    async def has_name(self, ref: str) -> bool:
        """Whether the other side has such a branch or tag. Raises as `run`."""
        names = (f"refs/heads/{ref}", f"refs/tags/{ref}")
        code, said = await self.try_run("ls-remote", "--quiet", "--exit-code", self._url, *names)
        if code not in {0, _NO_SUCH_REF}:
            self._fail(said)
        return code == 0

    async def run(self, *arguments: str) -> None:
        """Run one command. Raises PreparationFailed with what git said, and Halted."""
        code, said = await self.try_run(*arguments)
        if code != 0:
            self._fail(said)

    def _fail(self, said: str) -> None:
        detail = f"git failed: {said}"
        raise PreparationFailed(detail)

    async def try_run(self, *arguments: str) -> tuple[int, str]:
        """Run one command; return its exit code and what it said, without passwords."""
        said = _Tail()
        command = Command(
            ("git", *arguments), self._place.workspace.root, self._environment, self._place.mark
        )
        try:
            ended = await self._place.runner.run(command, said, self._halt)
        except (CommandLost, CommandNotStarted) as error:
            raise PreparationFailed(error.detail) from error
        if ended.was_halted:
            raise Halted
        return ended.exit_code, said.text(ended.exit_code)


class _Tail:
    """Keeps the end of what git says."""

    def __init__(self) -> None:
        self._bytes = b""

    async def write(self, _stream: Stream, data: bytes) -> None:
        """Keep the last of it."""
        self._bytes = (self._bytes + data)[-_ERROR_BYTES:]

    def text(self, exit_code: int) -> str:
        """Return its last lines as one."""
        lines = [line.strip() for line in self._bytes.decode(errors="replace").splitlines()]
        return _USERINFO.sub("", "; ".join(filter(None, lines))) or f"exit code {exit_code}"


def _local(text: str, roots: Sequence[Path]) -> Path:
    """Return a repository's path if all that git would read of it is below the roots."""
    path = allowed(text, roots)
    found = _git_dirs(path)
    for folder in tuple(found):
        found += [
            folder / name for name in ("objects", "objects/pack", "refs", "packed-refs", "HEAD")
        ]
        alternates = _read(folder / "objects/info/alternates")
        found += [folder / "objects" / line for line in alternates.splitlines() if line.strip()]
    for one in found:
        if root_of(one.resolve(), roots) is None:
            detail = f"{text!r} leads out of the directories that this worker may copy from"
            raise PreparationFailed(detail)
    return path


def _git_dirs(path: Path) -> list[Path]:
    """Return where a repository's own files are: a work tree may have them elsewhere."""
    inner = path / ".git"
    if inner.is_file():
        inner = path / _read(inner).removeprefix("gitdir:").strip()
    elif not inner.exists():
        inner = path
    common = _read(inner / "commondir").strip()
    return [inner, inner / common] if common else [inner]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(65_536).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
