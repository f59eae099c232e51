"""Lends workspaces to the attempts of one worker: each is fresh, and none is there without one.

To make and remove directories costs more than to start a command, and waits for whatever else
is written to the disk. So what an attempt leaves exactly as it found it, empty and unchanged, is
lent again while other attempts still run; whatever was touched is removed, never cleaned.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from reactorcide.worker.workspace import (
    Look,
    Workspace,
    changed_ns,
    is_empty,
    look_at,
    make_workspace,
    remove_empty_workspace,
    remove_workspace,
)

_COARSEST_CLOCK_NS: Final = 3_000_000_000
"""A change this long after another one shows in the times of any file system (FAT: 2 s)."""

_FINE_CLOCK_NS: Final = 100_000_000
"""The same where times are kept to less than a millisecond: the kernel's tick is 10 ms at most."""

_MILLISECOND_NS: Final = 1_000_000

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """What a workspace looked like when it was made."""

    look: Look
    was_old_when_taken: bool = False
    """Any change since it was last taken shows in its look."""
    is_untouched: bool = False
    """It was found as it was taken, and nothing runs in it any more."""


class Workspaces:
    """The workspaces below one directory, which is made when missing."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._holders = 0
        self._known: dict[Workspace, _Known] = {}
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
        workspace = self._take_spare() or make_workspace(self._parent)
        self._holders += 1
        if self._holders > 1 and workspace not in self._known:
            look = look_at(workspace)
            if look is not None:
                self._known[workspace] = _Known(look)
        return workspace

    async def give_back(self, workspace: Workspace) -> None:
        """Take one back, with all that an attempt left in it; nothing of that is there then."""
        try:
            if self._holders > 1 and self.is_untouched(workspace):
                self._known[workspace].is_untouched = False
                self._spare.append(workspace)
                return
            self._known.pop(workspace, None)
            if remove_empty_workspace(workspace):
                return
            if not await asyncio.to_thread(remove_workspace, workspace):
                _log.warning("workspace_not_removed", path=str(workspace.root))
        finally:
            self._let_go()

    def is_untouched(self, workspace: Workspace) -> bool:
        """Whether it is empty, and as it was when it was taken; False if nobody can say.

        To be asked when nothing runs in it any more: its yes counts until it is given back.
        """
        known = self._known.get(workspace)
        if known is None:
            return False
        if not known.is_untouched and known.look == look_at(workspace):
            known.is_untouched = known.was_old_when_taken or is_empty(workspace)
        return known.is_untouched

    def _take_spare(self) -> Workspace | None:
        """Return one that is still as it was made: nobody should have been there, but may."""
        while self._spare:
            workspace = self._spare.pop()
            known = self._known[workspace]
            if known.look == look_at(workspace):
                changed_at = changed_ns(known.look)
                is_fine = changed_at % _MILLISECOND_NS
                young_until = changed_at + (_FINE_CLOCK_NS if is_fine else _COARSEST_CLOCK_NS)
                known.was_old_when_taken = time.time_ns() > young_until
                return workspace
            self._drop(workspace)
        return None

    def _let_go(self) -> None:
        self._holders -= 1
        while self._spare and not self._holders:
            self._drop(self._spare.pop())

    def _drop(self, workspace: Workspace) -> None:
        """Remove a spare one: at once, since nothing of it is big."""
        del self._known[workspace]
        if not remove_empty_workspace(workspace):
            remove_workspace(workspace)
