"""Brings a job's files into its workspace: nothing, a git commit, or a copy of a directory.

Local directories are only read below the roots that the worker allows. Nothing asks anybody
anything, and no password in a URL gets into an error.
"""

import asyncio
from pathlib import Path

from reactorcide.eventstore.domain.events import JobSubmitted
from reactorcide.eventstore.domain.git_url import SEALED_NAME
from reactorcide.worker.copying import Halted, copy_tree
from reactorcide.worker.git import Place, Wanted, clone
from reactorcide.worker.halt import Halt
from reactorcide.worker.secrets import NO_SECRETS, Secrets
from reactorcide.worker.workspace import PreparationFailed, Workspace

__all__ = ["Halted", "Place", "fetch_source"]


async def fetch_source(
    submitted: JobSubmitted, place: Place, halt: Halt, secrets: Secrets = NO_SECRETS
) -> None:
    """Fill `code_dir`. Raises PreparationFailed, and Halted when asked to stop meanwhile."""
    target = place.workspace.path_of(submitted.code_dir)
    match submitted.source_type:
        case "none":
            make_directories(submitted, place.workspace)
        case "git":
            credentials = secrets.values.get(SEALED_NAME)
            wanted = Wanted(submitted.git_url or "", submitted.git_ref, credentials)
            await clone(wanted, target, place, halt)
        case "copy":
            text = submitted.source_path or ""
            await asyncio.to_thread(copy_tree, text, place.copy_roots, target, halt)


def make_directories(submitted: JobSubmitted, workspace: Workspace) -> None:
    """Make the directories of a job without a source. Raises PreparationFailed."""
    for job_path in (submitted.code_dir, submitted.job_dir):
        path = workspace.path_of(job_path)
        if path is not workspace.source:
            _make(path)


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        detail = f"the directory could not be made: {error.strerror}"
        raise PreparationFailed(detail) from error
