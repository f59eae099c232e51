"""What is said to a POSIX shell: the command of a job, and variables. Starts none."""

import re
import shlex
from collections.abc import Mapping
from typing import Final

from reactorcide.worker.runner import CommandNotStarted
from reactorcide.worker.workspace import PreparationFailed, Workspace

_LONGEST_ARGUMENT: Final = 100_000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def argv_of(job_command: str, workspace: Workspace) -> tuple[str, ...]:
    """Return how `sh` is started; one argument may be 128 KiB less a byte at most (execve(2)).

    A longer one goes through a file. Raises PreparationFailed.
    """
    if len(job_command.encode()) < _LONGEST_ARGUMENT:
        return "sh", "-c", job_command
    script = workspace.temporary / "command.sh"
    try:
        script.write_text(job_command, "utf-8")
    except OSError as error:
        detail = f"the workspace cannot be used: {error.strerror}"
        raise PreparationFailed(detail) from error
    return "sh", "-c", '. "$0"', str(script)


def exports(variables: Mapping[str, str]) -> str:
    """Return lines that set variables. Raises CommandNotStarted for a name that no shell takes."""
    lines = []
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            detail = f"the environment variable {name!r} cannot be given to a container"
            raise CommandNotStarted(detail)
        lines.append(f"export {name}={shlex.quote(value)}\n")
    return "".join(lines)
