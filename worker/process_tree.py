"""Everything that descends from one command, and its end.

A command may fork, forget its children, and put them into sessions of their own. Found are,
on Linux: its process group and session, whatever descends from those, and whatever carries
the environment mark of the attempt; orphans stay within reach because the worker is their
subreaper (prctl(2), PR_SET_CHILD_SUBREAPER). Elsewhere: the process group only.

Not found: an orphan that cleared its environment and left its session.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from reactorcide.worker.child import UNREAPED

_PROC: Final = Path("/proc")
_HAS_PROC: Final = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOOK_AGAIN_SECONDS: Final = 0.02
_PROC_BYTES: Final = 65_536


class _Entry(NamedTuple):
    """What proc(5) says in /proc/PID/stat."""

    pid: int
    state: str
    parent: int
    group: int
    session: int

    @property
    def is_dead(self) -> bool:
        return self.state in "ZX"


def adopt_orphans() -> bool:
    """Make this process the parent of what its children forget. Returns whether that holds."""
    if not _HAS_PROC:
        return False
    failed: int = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return not failed


def children() -> frozenset[int]:
    """Return the pids of this process's children, dead ones too. Empty without /proc.

    Those of its first thread: the kernel gives it the orphans (find_new_reaper in exit.c).
    """
    try:
        file = _children_of(os.getpid())
        text = b""
        while more := os.pread(file, _PROC_BYTES, len(text)):
            text += more
    except OSError:
        return frozenset()
    return frozenset(map(int, text.split()))


@cache
def _children_of(pid: int) -> int:
    """Return the descriptor of the list of our children; read again, it tells what is so then.

    Open for this process's whole life: to look is asked before and after every command, and
    opening costs fifty times the reading. A forked copy of this process opens its own.
    """
    return os.open(_PROC / f"self/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)


class ProcessTree:
    """The descendants of the command `leader`, which leads a session of its own."""

    def __init__(self, leader: int, mark: Iterable[str], children_before: frozenset[int]) -> None:
        """`mark`: `NAME=value` entries that together stand in no other environment.

        `children_before`: those that this process had before it bore the leader.
        """
        self._leader = leader
        self._mark = frozenset(entry.encode() for entry in mark)
        self._children_before = children_before

    def has_left_nothing(self) -> bool:
        """Whether surely nothing is left, told without looking at every process.

        Only asked after the leader's end: whatever it left has become a child of ours.
        """
        return not self._group_lives() and _HAS_PROC and not self._orphans()

    def reap_orphans(self) -> None:
        """Take the exit status of orphans that died, so that no zombies pile up."""
        for pid in self._orphans():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def members(self) -> set[int]:
        """Return the living: the leader, its group and session, and all that descends."""
        if not _HAS_PROC:
            return {self._leader} if self._group_lives() else set()
        entries = [entry for entry in _entries() if not entry.is_dead]
        found = {entry.pid for entry in entries if self._is_ours(entry)}
        size = -1
        while size != len(found):
            size = len(found)
            found |= {entry.pid for entry in entries if entry.parent in found}
        return found - {os.getpid()}

    def send(self, number: signal.Signals) -> set[int]:
        """Send a signal to all; return who they were."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._leader, number)
        members = self.members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return members

    async def destroy(self, limit_seconds: float) -> set[int]:
        """Kill until nothing is left; return what would not die within the limit."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_seconds
        while living := self.send(signal.SIGKILL):
            if loop.time() >= until:
                return living
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        self.reap_orphans()
        return set()

    def _orphans(self) -> frozenset[int]:
        """Return the children of ours that commands left to us, as far as they are new."""
        new = children() - self._children_before - UNREAPED
        return frozenset(pid for pid in new if not _is_of_our_session(pid))

    def _is_ours(self, entry: _Entry) -> bool:
        return self._leader in (entry.pid, entry.group, entry.session) or self._is_marked(entry.pid)

    def _is_marked(self, pid: int) -> bool:
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return False  # gone, or somebody else's
        return bool(self._mark) and self._mark.issubset(environment.split(b"\0"))

    def _group_lives(self) -> bool:
        try:
            os.killpg(self._leader, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _is_of_our_session(pid: int) -> bool:
    """Whether somebody else here bore it: no descendant of a command can come back into ours."""
    try:
        return os.getsid(pid) == os.getsid(0)
    except OSError:  # gone
        return True


def _entries() -> Iterator[_Entry]:
    for name in os.listdir(_PROC):  # noqa: PTH208 - many times a second: no Path per entry
        if name.isdigit():
            with contextlib.suppress(OSError):
                yield _parsed((_PROC / name / "stat").read_text(errors="replace"))


def _parsed(stat: str) -> _Entry:
    """Read `pid (name) state ppid pgrp session …`; the name may hold anything."""
    pid, _, rest = stat.partition(" (")
    state, parent, group, session = rest.rpartition(")")[2].split()[:4]
    return _Entry(int(pid), state, int(parent), int(group), int(session))
