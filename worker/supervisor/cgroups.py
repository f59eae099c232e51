"""The control groups that commands are born in: the kernel's own word on who belongs to one.

A process is born in its parent's group, whatever session, environment or limits it takes, and to
leave it needs leave to write to the hierarchy (cgroup v2: admin-guide/cgroup-v2.rst of Linux). A
supervisor makes a group named by its pid in the one that it runs in itself, and in there one for
each command. No controller is used and no limit is set. Where groups cannot be had, there is
`NoGroup`: what else is known of a command has to do.
"""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from reactorcide.worker import spawning

_PREFIX: Final = "reactorcide-"
_OURS: Final = re.compile(rf"{_PREFIX}[0-9]+")
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_GONE: Final = frozenset((errno.ENOENT, errno.ENODEV))
_BYTES: Final = 65_536
_DEATH_SECONDS: Final = 1.0
"""What a killed group may take to be empty before its removal is left to the next one."""

_AGAIN_SECONDS: Final = 0.01


class NoGroup:
    """Knows of nobody."""

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """Lend the descriptor that a program can be born by. Raises OSError."""
        yield None

    def pids(self) -> set[int]:
        """Return who is in it, or in a group within it."""
        return set()

    def kill(self) -> None:
        """Send KILL to all at once, also to whoever is being born meanwhile."""

    def is_empty(self) -> bool:
        """Return whether nobody alive is left in it, nor in a group within it."""
        return True

    def remove(self) -> None:
        """Remove it if it is empty, with all groups within it; may be repeated."""


class Group(NoGroup):
    """The group at a path."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """See NoGroup."""
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def pids(self) -> set[int]:
        """See NoGroup; those that this process's namespace has no pid for are left out."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self._path):
            with contextlib.suppress(OSError):
                found.update(map(int, _read(f"{folder}/cgroup.procs").split()))
        return found - {0}

    def kill(self) -> None:
        """See NoGroup."""
        with contextlib.suppress(OSError):
            _write(f"{self._path}/cgroup.kill", b"1")

    def is_empty(self) -> bool:
        """See NoGroup: dead ones that nobody asked about yet do not count."""
        try:
            return "populated 0" in _read(f"{self._path}/cgroup.events")
        except OSError as error:
            return error.errno in _GONE

    def remove(self) -> None:
        """See NoGroup."""
        _remove(self._path)


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


def place_for_groups() -> str | None:
    """Return the directory of this process's group; None: no program can be born within it."""
    if not spawning.KNOWS_GROUPS:
        return None
    return divisible_place()


def divisible_place() -> str | None:
    """Return the directory of this process's group, if other groups may be made in it."""
    try:
        places = places_in(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    except OSError:
        return None
    return next(filter(_is_divisible, places), None)


def places_in(mounts: str, membership: str) -> list[str]:
    """Return where a process's group of the v2 hierarchy is seen.

    From its mountinfo (proc_pid_mountinfo(5)) and its `cgroup` file (cgroups(7)). Only a mount
    that shows the group counts: one may show another part of the hierarchy.
    """
    group = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    found = []
    for line in mounts.splitlines() if group is not None else ():
        what, _, kind = line.partition(" - ")
        if kind.split(" ")[0] != "cgroup2":
            continue
        root, point = map(_unescaped, what.split(" ")[3:5])
        within = _within(root.rstrip("/"), str(group))
        if within is not None:
            found.append(f"{point.rstrip('/')}{within}".rstrip("/") or "/")
    return found


def bury(supervisor: int) -> bool:
    """Kill and remove what a dead supervisor's groups hold; return whether nothing is left."""
    place = place_for_groups()
    return place is None or _is_buried(f"{place}/{_PREFIX}{supervisor}")


def _within(root: str, group: str) -> str | None:
    """Return the way from a mount's root to a group, `/` in front; None: it is not below."""
    if group != root and not group.startswith(f"{root}/"):
        return None
    way = group[len(root) :]
    return None if "/../" in f"{way}/" else way


def _unescaped(word: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)


def _is_divisible(place: str) -> bool:
    """Return whether groups may be made there, and be entered by whoever is there already.

    Within a threaded group nothing but threads may be.
    """
    if not all(os.access(path, os.W_OK) for path in (place, f"{place}/cgroup.procs")):
        return False
    try:
        return _read(f"{place}/cgroup.type") == "domain\n"
    except FileNotFoundError:  # the root of all has no type
        return True


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
        _remove(path)
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
        return error.errno not in _GONE
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
        return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
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


def _remove(path: str) -> None:
    """Remove a group and those within it, as far as they are empty."""
    try:
        os.rmdir(path)  # noqa: PTH106  as above
    except OSError as error:
        if error.errno in _GONE:
            return
        with contextlib.suppress(OSError):
            with os.scandir(path) as entries:
                for within in [entry.path for entry in entries if entry.is_dir()]:
                    _remove(within)
            os.rmdir(path)  # noqa: PTH106  as above


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while more := os.read(descriptor, _BYTES):
            text += more
    finally:
        os.close(descriptor)
    return os.fsdecode(text)


def _write(path: str, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)
