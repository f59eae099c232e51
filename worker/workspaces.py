"""Lends workspaces to the attempts of one worker: each is fresh, and none is there without one.

To make and remove directories costs more than to start a command. So what an attempt leaves
exactly as it found it, empty and unchanged, is lent again while other attempts still run;
whatever was touched is removed. It never cleans a used one.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from reactorcide.worker.workspace import (
    Look,
    Workspace,
    look_at,
    make_workspace,
    remove_empty_workspace,
    remove_workspace,
)

_log = structlog.get_logger(__name__)


class Workspaces:
    """The workspaces below one directory, which is made when missing."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._holders = 0
        self._looks: dict[Workspace, Look] = {}
        self._spare: list[Workspace] = []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep spare ones during the block, as if an attempt ran all the time."""
        self._holders += 1
        try:
            yield
        finally:
            self._let_go()

    def take(self) -> Workspace:
        """Return a fresh one, to be given back. Raises PreparationFailed."""
        workspace = self._spare.pop() if self._spare else make_workspace(self._parent)
        self._holders += 1
        if self._holders > 1 and workspace not in self._looks:
            look = look_at(workspace)
            if look is not None:
                self._looks[workspace] = look
        return workspace

    async def give_back(self, workspace: Workspace) -> None:
        """Take one back, with all that an attempt left in it; nothing of that is there then."""
        try:
            look = self._looks.get(workspace)
            if look is not None and self._holders > 1 and look == look_at(workspace):
                self._spare.append(workspace)
                return
            self._looks.pop(workspace, None)
            if remove_empty_workspace(workspace):
                return
            if not await asyncio.to_thread(remove_workspace, workspace):
                _log.warning("workspace_not_removed", path=str(workspace.root))
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._holders -= 1
        while self._spare and not self._holders:
            workspace = self._spare.pop()
            del self._looks[workspace]
            if not remove_empty_workspace(workspace):
                remove_workspace(workspace)
