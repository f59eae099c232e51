"""Which user PostgreSQL's programs run as: ourselves, or somebody else when we are root."""

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from reactorcide.cli.postgres_binaries import EmbeddedPostgresError

_LAUNCHER: Final = Path(__file__).with_name("unprivileged.py")

# A server reads many variables (PGDATA, PGOPTIONS, LC_*); it gets none of the caller's.
ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

Way = Literal["namespace", "setuid"]
WAYS: Final[tuple[Way, ...]] = ("namespace", "setuid")


class NoWayToRunError(EmbeddedPostgresError):
    """Root has no way here to run the server as somebody else."""

    def __init__(self, program: Path) -> None:
        super().__init__(
            f"cannot run {program} as another user than root: run reactorcide as a plain user, "
            "or set REACTORCIDE_DB_URI to a server you have"
        )
        self.program = program


@dataclass(frozen=True, slots=True)
class RunAs:
    """How a command line is changed, and who has to own the files it works on."""

    prefix: tuple[str, ...]
    owner_uid: int
    owner_gid: int

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line that runs these words as that user."""
        return [*self.prefix, *(str(word) for word in words)]


def choose_run_as(program: Path, ways: tuple[Way, ...] = WAYS) -> RunAs:
    """Take the first way that runs the program; ourselves when we are not root.

    Raises NoWayToRunError.
    """
    if os.geteuid() != 0:
        return RunAs((), os.geteuid(), os.getegid())
    user = _somebody()
    for way in ways:
        prefix = _prefix(way, user)
        tried = subprocess.run(  # noqa: S603 - our own launcher and a program we found
            [*prefix, program, "--version"], env=ENVIRONMENT, capture_output=True, check=False
        )
        if tried.returncode == 0:
            owned_by_root = way == "namespace"
            return RunAs(
                prefix, 0 if owned_by_root else user.pw_uid, 0 if owned_by_root else user.pw_gid
            )
    raise NoWayToRunError(program)


def _prefix(way: Way, user: pwd.struct_passwd) -> tuple[str, ...]:
    # -I -S: nothing of the environment or of site-packages runs as root before the change.
    python = (sys.executable, "-I", "-S", str(_LAUNCHER))
    return (*python, way, str(user.pw_uid), str(user.pw_gid))


def _somebody() -> pwd.struct_passwd:
    """Return `nobody`, else any user but root: initdb wants an id that has a name."""
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    for user in users:
        if user.pw_name == "nobody":
            return user
    if not users:
        raise NoWayToRunError(_LAUNCHER)
    return users[0]
