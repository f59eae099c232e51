"""Walls by bubblewrap (bwrap): the host's programs to read, the workspace at /job, no more.

Everything that the command is given goes through a file: its environment must not get hold of
bwrap itself (LD_PRELOAD), and a value among the arguments could be read by anybody here.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from reactorcide.worker.environment import PATH
from reactorcide.worker.halt import Halt
from reactorcide.worker.runner import Command, CommandNotStarted, Runner
from reactorcide.worker.walls import Inside, Overheard, WallsUnusable, without_workspace, written

_OUTER: Final = 'trap "" TERM; exec 3<"$0" && rm -f -- "$0" && exec bwrap --args 3 -- "$@"'
"""bwrap must outlive the TERM that asks the command to end: it would take the command along."""

_DEAF_NO_MORE: Final = ("env", "--default-signal=TERM")
_MOST_ARGUMENTS: Final = 9_000
"""So many words bwrap takes; three for each variable."""

_PROGRAMS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC: Final = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
"""What programs need to know of the machine; nothing of it is secret."""


class Bubblewrap:
    """Walls; see `Walls`."""

    name = "bubblewrap"

    def __init__(self, *, network: bool) -> None:
        self._network = network

    async def check(self, plain: Runner) -> None:
        """Start something that ends at once. Raises WallsUnusable."""
        said = Overheard()
        words = [*self._options(), "--", *_DEAF_NO_MORE, "true"]
        command = Command(("bwrap", *words), Path("/"), {"PATH": PATH}, ())
        try:
            ended = await plain.run(command, said, Halt())
        except CommandNotStarted as error:
            detail = f"bwrap is not installed here ({error.detail})"
            raise WallsUnusable(detail) from error
        if ended.exit_code != 0:
            detail = f"bwrap does not work here: {said.text() or ended.exit_code}"
            raise WallsUnusable(detail)

    @asynccontextmanager
    async def around(self, inside: Inside, _plain: Runner, _halt: Halt) -> AsyncIterator[Command]:
        """Write down what bwrap is told; it dies with whoever started it."""
        words = [*self._options(), "--clearenv"]
        for name, value in inside.environment.items():
            words += ("--setenv", name, value)
        for path, place in inside.places:
            words += ("--bind", str(path), str(place))
        words += ("--remount-ro", "/")
        if len(words) > _MOST_ARGUMENTS:
            detail = "the job has more environment variables than bwrap takes"
            raise CommandNotStarted(detail)
        if any("\0" in word for word in words):
            detail = "an environment variable holds a NUL"
            raise CommandNotStarted(detail)
        text = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
        told = written(inside.workspace.root / "walls", text)
        start = (*_DEAF_NO_MORE, *inside.starting('exec "$@"'))
        yield without_workspace(inside.command, ("sh", "-c", _OUTER, told, *start), PATH=PATH)

    def _options(self) -> Iterator[str]:
        """Yield what is alike for every command."""
        yield from ("--unshare-user-try", "--unshare-ipc", "--unshare-pid", "--unshare-uts")
        yield from ("--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL")
        if not self._network:
            yield "--unshare-net"
        yield from ("--ro-bind", "/usr", "/usr")
        for name in _PROGRAMS:
            path = Path("/", name)
            if path.is_symlink():
                yield from ("--symlink", str(path.readlink()), str(path))
            elif path.is_dir():
                yield from ("--ro-bind", str(path), str(path))
        for name in _ETC:
            path = Path("/etc", name)
            if path.exists():
                yield from ("--ro-bind", str(path.resolve()), str(path))
        yield from ("--proc", "/proc", "--dev", "/dev", "--dir", "/run", "--dir", "/tmp")  # noqa: S108
        yield from ("--symlink", "/tmp", "/var/tmp")  # noqa: S108  as above
