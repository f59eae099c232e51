"""The control groups that commands are born in: the kernel's own word on who belongs to one.

A process is born in its parent's group, whatever session, environment or limits it takes, and to
leave it needs leave to write to the hierarchy (cgroup v2: admin-guide/cgroup-v2.rst of Linux). A
supervisor makes a group named by its pid in the one that it runs in itself, and in there one for
each command. No controller is used and no limit is set. Where groups cannot be had, there is
`NoGroup`: what else is known of a command has to do.
"""

import contextlib
import fcntl
import os
import re
import time
from typing import Final

from reactorcide.worker.supervisor.group import GONE, Group, NoGroup, read
from reactorcide.worker.supervisor.group_places import place_for_groups

_PREFIX: Final = "reactorcide-"
_OURS: Final = re.compile(rf"{_PREFIX}[0-9]+")
_DEATH_SECONDS: Final = 1.0
"""What a killed group may take to be empty before its removal is left to the next one."""

_AGAIN_SECONDS: Final = 0.01


class Groups:
    """Those of one supervisor, this process, in a group that can be divided; None: none."""

    def __init__(self, place: str | None) -> None:
        self._home: str | None = None
        self._lock = -1
        if place is not None:
            with contextlib.suppress(OSError):
                _bury_stale(place)
                self._home, self._lock = _made_home(place)

    def new(self, number: int) -> NoGroup:
        """Return a new group for the command of this number, which nobody had before."""
        if self._home is None:
            return NoGroup()
        path = f"{self._home}/{number}"
        try:
            os.mkdir(path)  # noqa: PTH102  pathlib would double the start
        except OSError:  # there may be no more, or the home was taken away
            return NoGroup()
        return Group(path)

    def end(self) -> bool:
        """Kill all in all of them, and remove them; return whether nobody is left."""
        if self._home is None:
            return True
        home = Group(self._home)
        home.kill()
        if not home.is_empty():
            return False
        home.remove()
        os.close(self._lock)
        self._home = None
        return True


def bury(supervisor: int) -> bool:
    """Kill and remove what a dead supervisor's groups hold; return whether nothing is left."""
    place = place_for_groups()
    return place is None or _is_buried(f"{place}/{_PREFIX}{supervisor}")


def _made_home(place: str) -> tuple[str, int]:
    """Make this supervisor's group, locked: its path and what locks it.

    Raises OSError if it is of no use.
    """
    path = f"{place}/{_PREFIX}{os.getpid()}"
    os.mkdir(path)  # noqa: PTH102  pathlib would double the start
    try:
        os.stat(f"{path}/cgroup.kill")  # noqa: PTH116  since Linux 5.14
        return path, _locked(path)
    except OSError:
        Group(path).remove()
        raise


def _locked(path: str) -> int:
    """Lock a group as long as this process lives; its commands do not inherit that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_held(path: str) -> bool:
    """Return whether its supervisor lives: one in another pid namespace has no pid here."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return error.errno not in GONE
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _bury_stale(place: str) -> None:
    """Kill and remove what supervisors left that died with their workers."""
    names = filter(_OURS.fullmatch, os.listdir(place))  # noqa: PTH208  as above
    stale = [f"{place}/{name}" for name in names if not _lives(int(name.removeprefix(_PREFIX)))]
    until = time.monotonic() + _DEATH_SECONDS
    while stale := [path for path in stale if not _is_held(path) and not _is_buried(path)]:
        if time.monotonic() > until:
            return
        time.sleep(_AGAIN_SECONDS)


def _lives(pid: int) -> bool:
    """Return whether there is such a process that is not dead; this one has no group yet."""
    if pid == os.getpid():
        return False
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _is_buried(path: str) -> bool:
    """Kill and remove a group unless somebody holds it; return whether it is gone."""
    if not os.path.isdir(path):  # noqa: PTH112  as above
        return True
    if _is_held(path):
        return False
    group = Group(path)
    group.kill()
    if group.is_empty():
        group.remove()
    return not os.path.isdir(path)  # noqa: PTH112  as above
