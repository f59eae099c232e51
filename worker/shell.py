"""Environment variables in the words of a POSIX shell."""

import re
import shlex
from collections.abc import Mapping
from typing import Final

from reactorcide.worker.runner import CommandNotStarted

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def exports(variables: Mapping[str, str]) -> str:
    """Return lines that set variables. Raises CommandNotStarted for a name that no shell takes."""
    lines = []
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            detail = f"the environment variable {name!r} cannot be given to a container"
            raise CommandNotStarted(detail)
        lines.append(f"export {name}={shlex.quote(value)}\n")
    return "".join(lines)
