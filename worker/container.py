"""Walls by containers: the job's image, through the command line of podman or docker.

A container is not a child of the command that starts it (docker), so it is ended by its name
too, after every attempt; what a worker that died left running is removed when one starts again.
"""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from reactorcide.worker.environment import PATH
from reactorcide.worker.halt import Halt
from reactorcide.worker.runner import Command, CommandNotStarted, Runner
from reactorcide.worker.shell import exports
from reactorcide.worker.walls import Inside, Overheard, WallsUnusable, written

_REMOVE_SECONDS: Final = 60.0
_LABEL: Final = "reactorcide.worker"
_LINE_BYTES: Final = 30_000
_OWN: Final = re.compile(
    r"DOCKER_\w+|CONTAINERS?_\w+|XDG_\w+|HOME|PATH|TMPDIR|USER|REGISTRY_AUTH_FILE"
)
_PROXIES: Final = re.compile(r"(?i)(https?|all|no)_proxy")

_WAIT: Final = (
    "if [ -f /tmp/.reactorcide-environment ]; then . /tmp/.reactorcide-environment; "
    "rm -f /tmp/.reactorcide-environment; fi; "
    'asked=; "$@" & child=$!; trap "asked=1; trap \'\' TERM; kill -TERM -1" TERM; '
    'wait "$child"; code=$?; while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; '
    'wait "$child" 2>/dev/null; again=$?; [ "$again" = 127 ] || code=$again; '
    'echo "$code" > /tmp/.reactorcide-exit; '
    '[ -z "$asked" ] || sleep 0.5 2>/dev/null; exit "$code"'
)
"""The first process of a container is deaf to signals, so it passes TERM on to all others; once.

A trap ends a `wait`, and some shells have taken the child's exit code by then: asked again they
tell it, or say 127 when they have told it before. The engine's client gives up, and its last
output with it, when it is asked to pass another TERM on to a container that has ended: so that
one lasts a moment longer. And it may lose the exit code of one that is removed at once
(docker's client with podman's service says 0): so that is written down.
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What a worker says of its containers."""

    engine: str | None = None
    """`podman` or `docker`; None: the first of them that works."""
    image: str | None = None
    """For jobs that name none."""
    network: bool = True
    options: tuple[str, ...] = ()
    """More options of `run`, for limits of memory and the like."""


class Containers:
    """Walls; see `Walls`."""

    name = "container"

    def __init__(self, settings: ContainerSettings, environ: Mapping[str, str]) -> None:
        """`environ`: the worker's own; the engine's client gets what is meant for it."""
        self._settings = settings
        self._engine = settings.engine or "podman"
        self._environment = {name: text for name, text in environ.items() if _OWN.fullmatch(name)}
        self._proxies = {name: text for name, text in environ.items() if _PROXIES.fullmatch(name)}
        self._user = "0:0"

    async def check(self, plain: Runner) -> None:
        """Choose the engine, and remove what dead workers left. Raises WallsUnusable."""
        wanted = (self._settings.engine,) if self._settings.engine else ("podman", "docker")
        path = self._environment.get("PATH")
        found = [name for name in wanted if shutil.which(name, path=path)]
        reasons = [f"{' and '.join(wanted)}: not installed here"] if not found else []
        for self._engine in found:
            said, code = await self._ask(plain, Halt(), "info", "--format", "{{json .}}")
            if code == 0:
                self._user = self._user_inside(said)
                await self._remove_leftovers(plain)
                return
            reasons.append(f"{self._engine}: {said}")
        raise WallsUnusable("; ".join(reasons))

    def _user_inside(self, info: str) -> str:
        """Return who is this worker's user inside: root, unless docker's daemon is another's."""
        if self._engine == "podman" or "rootless" in info or os.getuid() == 0:
            return "0:0"
        return f"{os.getuid()}:{os.getgid()}"

    @asynccontextmanager
    async def around(self, inside: Inside, plain: Runner, halt: Halt) -> AsyncIterator[Command]:
        """Have the image here, then run it; kill and remove the container at the end."""
        image = inside.command.image or self._settings.image
        if image is None:
            detail = "the job names no runner_image, and its worker has no default"
            raise CommandNotStarted(detail)
        await self._have(image, plain, halt)
        name = _name_of(inside)
        words = self._options(name, inside)
        start = inside.starting(_WAIT)
        argv = (self._engine, "run", *words, f"--entrypoint={start[0]}", "--", image, *start[1:])
        command = Command(argv, Path("/"), self._environment, inside.command.mark)
        try:
            yield command
        finally:
            await _to_its_end(self._remove(name, plain))

    def _options(self, name: str, inside: Inside) -> list[str]:
        lines, rest = [], {}
        for variable, value in inside.environment.items():
            if variable == "PATH" and value == PATH:
                continue  # the image's own
            if _fits_in_line(variable, value):
                lines.append(f"{variable}={value}\n")
            else:
                rest[variable] = value
        workspace = inside.workspace
        file = written(workspace.root / "environment", _bytes_of("".join(lines)))
        if rest:
            text = _bytes_of(exports(rest))
            written(workspace.temporary / ".reactorcide-environment", text)
        return [
            "--rm",
            f"--name={name}",
            f"--label={_LABEL}={this_worker()}",
            "--pull=never",
            "--log-driver=none",  # or the engine would keep what is not masked
            "--security-opt=no-new-privileges",
            "--security-opt=label=disable",
            f"--user={self._user}",
            "--workdir=/",
            f"--env-file={file}",
            *(f"--volume={path}:{place}" for path, place in inside.places),
            *(() if self._settings.network else ("--network=none",)),
            *(("--http-proxy=false",) if self._engine == "podman" else ()),
            *self._settings.options,
        ]

    async def _have(self, image: str, plain: Runner, halt: Halt) -> None:
        """Pull an image that is not here. Raises CommandNotStarted."""
        if image.startswith("-"):
            detail = f"{image!r} is no image's name"
            raise CommandNotStarted(detail)
        _, code = await self._ask(plain, halt, "image", "inspect", image)
        if code == 0 or halt.is_asked:
            return
        said, code = await self._ask(plain, halt, "pull", "--quiet", image)
        if code != 0 and not halt.is_asked:
            detail = f"the image {image!r} is not to be had: {_without_warnings(said)}"
            raise CommandNotStarted(detail)

    async def _remove(self, name: str, plain: Runner) -> None:
        """Kill and remove a container; usually there is none any more."""
        _, code = await self._ask(plain, Halt(), "container", "inspect", name)
        if code == 0:
            await self._ask(plain, Halt(), "kill", name)
            said, code = await self._ask(plain, Halt(), "rm", "--force", name)
            _, remains = await self._ask(plain, Halt(), "container", "inspect", name)
            if remains == 0:
                _log.warning("container_not_removed", container=name, exit_code=code, said=said)

    async def _remove_leftovers(self, plain: Runner) -> None:
        said, _ = await self._ask(plain, Halt(), "ps", "-aq", f"--filter=label={_LABEL}")
        for container in re.split(r"[;\s]+", said):
            if re.fullmatch(r"[0-9a-f]+", container):
                form = f'{{{{index .Config.Labels "{_LABEL}"}}}}'
                owner, code = await self._ask(
                    plain, Halt(), "container", "inspect", f"--format={form}", container
                )
                if code == 0 and is_dead(owner):
                    _log.info("container_of_a_dead_worker_removed", container=container)
                    await self._remove(container, plain)

    async def _ask(self, plain: Runner, halt: Halt, *words: str) -> tuple[str, int]:
        """Have the engine do something; return what it said, and its exit code."""
        said = Overheard()
        environment = {**self._environment, **self._proxies}
        command = Command((self._engine, *words), Path("/"), environment, ())
        ended = await plain.run(command, said, halt)
        return said.text(), ended.exit_code


def _without_warnings(said: str) -> str:
    """Return the parts in which an engine says what is wrong: podman tells each try before."""
    parts = said.split("; ")
    return "; ".join(part for part in parts if "level=warning" not in part) or said


def _name_of(inside: Inside) -> str:
    given = inside.command.environment
    return f"reactorcide-{given['REACTORCIDE_JOB_ID']}-{given['REACTORCIDE_ATTEMPT']}"


def _fits_in_line(name: str, value: str) -> bool:
    """Whether an engine takes a variable from a line of a file as it is."""
    is_long = len(name) + len(value) > _LINE_BYTES
    return not (is_long or re.search(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]|^[\s#]", value + name))


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def this_worker() -> str:
    """Return what tells this process from all others, on this machine and since it was started."""
    return "/".join((socket.gethostname(), *_boot(), str(os.getpid()), _born(os.getpid()) or ""))


def is_dead(worker: str) -> bool:
    """Whether a worker, as `this_worker` named it, surely lives no more."""
    host, boot, space, pid, born = (*worker.split("/"), "", "", "", "", "")[:5]
    here = _boot()
    if host != socket.gethostname() or not pid.isdigit():
        return False
    if boot != here[0]:
        return True
    return space == here[1] and _born(int(pid)) != born


def _boot() -> tuple[str, str]:
    """Return the machine's boot, and the space in which pids have their meaning."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return boot, re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return "", ""


def _born(pid: int) -> str | None:
    """Return when a process began, by the kernel's clock; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await something even when cancelled meanwhile, for a bounded time."""
    task = asyncio.ensure_future(asyncio.wait_for(work, _REMOVE_SECONDS))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
    except (TimeoutError, CommandNotStarted):
        _log.warning("container_not_removed", exc_info=True)
