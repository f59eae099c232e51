"""The environment of a command, built from nothing: never the worker's own.

It reads one file, which the job brings along (`job_env_file`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.worker.coordinator import AttemptKey
from reactorcide.worker.workspace import PreparationFailed, Workspace

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE_BYTES: Final = 262_144


def mark_of(job_id: UUID, attempt: int) -> tuple[str, str]:
    """Return the entries by which all that descends from an attempt is known."""
    return f"REACTORCIDE_JOB_ID={job_id}", f"REACTORCIDE_ATTEMPT={attempt}"


def base_environment(workspace: Workspace) -> dict[str, str]:
    """Return what every command sees, of a job or on its behalf."""
    return {
        "PATH": PATH,
        "HOME": str(workspace.root),
        "LANG": "C.UTF-8",
        "TMPDIR": str(workspace.temporary),
    }


def environment_of(
    *,
    key: AttemptKey,
    worker_id: UUID,
    submitted: JobSubmitted,
    secrets: Mapping[str, str],
    workspace: Workspace,
) -> dict[str, str]:
    """Return the job's environment. Later lines win, so that a job cannot pose as another one.

    Raises PreparationFailed when `job_env_file` cannot be read.
    """
    return {
        **base_environment(workspace),
        **_from_file(submitted, workspace),
        **submitted.job_env_vars,
        **secrets,
        "REACTORCIDE_JOB_NAME": submitted.name,
        "REACTORCIDE_QUEUE": submitted.queue_name,
        "REACTORCIDE_WORKER_ID": str(worker_id),
        "REACTORCIDE_WORKSPACE": str(workspace.job),
        "REACTORCIDE_ARTIFACTS_DIR": str(workspace.artifacts),
        **dict(entry.split("=", 1) for entry in mark_of(*key)),
    }


def _from_file(submitted: JobSubmitted, workspace: Workspace) -> dict[str, str]:
    """Read `job_env_file`, a path inside the job dir; {} without one."""
    name = submitted.job_env_file
    if name is None:
        return {}
    job_dir = workspace.path_of(submitted.job_dir)
    path = workspace.path_of(name) if name.startswith("/") else job_dir / name
    if not path.resolve().is_relative_to(job_dir.resolve()):
        detail = f"job_env_file {name!r} is outside of the job dir"
        raise PreparationFailed(detail)
    return parse_env_file(_text_of(path, name), name)


def _text_of(path: Path, name: str) -> str:
    try:
        if not path.is_file():
            detail = f"job_env_file {name!r} is not a file in the job dir"
            raise PreparationFailed(detail)
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        detail = f"job_env_file {name!r} cannot be read as UTF-8 text"
        raise PreparationFailed(detail) from error
    if len(data) > _FILE_BYTES:
        detail = f"job_env_file {name!r} is longer than {_FILE_BYTES} bytes"
        raise PreparationFailed(detail)
    return text


def parse_env_file(text: str, name: str) -> dict[str, str]:
    """Read lines `KEY=VALUE`; empty ones and those that begin with `#` say nothing.

    Values stand as they are: quotes belong to them. Raises PreparationFailed with the number
    of the line (never with its text, which may be secret).
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not equals or "\0" in value or not _NAME.fullmatch(key):
            detail = f"job_env_file {name!r}, line {number}: not KEY=VALUE"
            raise PreparationFailed(detail)
        found[key] = value
    return found
