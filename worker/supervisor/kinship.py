"""Who descends from whom, and from which command: what the system tells of this process's own.

A command may fork, forget its children, put them into sessions of their own and clear their
environment; orphans stay within reach because this process is their subreaper (prctl(2),
PR_SET_CHILD_SUBREAPER), and each says whose it was by a resource limit (getrlimit(2)): children
inherit limits through fork and execve, whatever else they change. The limit on the time that a
process with a realtime policy may go without a pause serves: so large a one never bites.
Elsewhere than on Linux only process groups are known.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

HAS_PROC: Final = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER: Final = 36
_PROC_BYTES: Final = 65_536
_LARGEST_MARK: Final = 2**62
_SMALLEST_MARK: Final = 2**40
"""In microseconds twelve days, still more than any command goes without a pause."""


def adopt_orphans() -> None:
    """Make this process the parent of what its descendants forget, for its whole life."""
    if HAS_PROC:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def mark_next() -> int | None:
    """Mark all that is started from now on, and return the mark; None: it cannot be marked.

    A limit can only be lowered, and so every mark is new.
    """
    if not HAS_PROC:
        return None
    limit = _limit_of(0)
    mark = _LARGEST_MARK if limit is None or limit > _LARGEST_MARK else limit - 1
    if mark < _SMALLEST_MARK:
        return None
    resource.setrlimit(resource.RLIMIT_RTTIME, (mark, mark))
    return mark


def mark_of(pid: int) -> int | None:
    """Return the mark that a process carries; None: it has none, or is gone."""
    limit = _limit_of(pid) if HAS_PROC else None
    return limit if limit is not None and limit <= _LARGEST_MARK else None


def children() -> frozenset[int]:
    """Return the pids of this process's children, dead ones too. Empty without /proc.

    Those of its first thread: the kernel gives it the orphans (find_new_reaper in exit.c). The
    list is whole as long as nobody else takes the exit status of one.
    """
    if not HAS_PROC:
        return frozenset()
    try:
        file = _children_of(os.getpid())
        text = b""
        while more := os.pread(file, _PROC_BYTES, len(text)):
            text += more
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return frozenset(_families()[os.getpid()])
    return frozenset(map(int, text.split()))


def descendants(roots: Iterable[int]) -> set[int]:
    """Return these processes and all that descends from them."""
    found = set(roots)
    families = _families()
    new = found
    while new:
        new = {child for pid in new for child in families.get(pid, ())} - found
        found |= new
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that are gone or somebody else's are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def send_group(leader: int, number: signal.Signals) -> None:
    """Send a signal to a process group, where nothing better is known."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def reaped() -> Iterator[tuple[int, int]]:
    """Take the exit status of every child that is dead: its pid and how it ended (wait(2))."""
    with contextlib.suppress(ChildProcessError):
        while (end := os.waitpid(-1, os.WNOHANG))[0]:
            yield end


@cache
def _children_of(pid: int) -> int:
    """Return the descriptor of the list of our children; read again, it tells what is so then.

    Open for this process's whole life: to look is asked after every command, and opening costs
    fifty times the reading. A forked copy of this process opens its own.
    """
    return os.open(f"/proc/self/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)


def _limit_of(pid: int) -> int | None:
    """Return a process's limit; None: there is none, or nobody says."""
    try:
        limit = resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
    except ProcessLookupError:
        return None
    except PermissionError:
        return _written_limit_of(pid)
    return None if limit == resource.RLIM_INFINITY else limit


def _written_limit_of(pid: int) -> int | None:
    """Do the same for a process that changed its user: what is written may be read by all."""
    try:
        with open(f"/proc/{pid}/limits") as file:  # noqa: PTH123  pathlib would double the start
            line = next(line for line in file if line.startswith("Max realtime timeout"))
    except (OSError, StopIteration):
        return None
    hard = line.split()[-2]
    return int(hard) if hard.isdecimal() else None


def _families() -> dict[int, list[int]]:
    """Return the living children of every process on this machine."""
    families = defaultdict(list)
    for name in os.listdir("/proc") if HAS_PROC else ():  # noqa: PTH208  as above
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in b"ZX":
                    families[int(parent)].append(int(name))
    return families
