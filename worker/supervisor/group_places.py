"""Where in the hierarchy of control groups this process may make groups of its own.

It reads what the kernel tells about this process, and makes nothing.
"""

import os
import re
from typing import Final

from reactorcide.worker import spawning
from reactorcide.worker.supervisor.group import read

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def place_for_groups() -> str | None:
    """Return the directory of this process's group; None: no program can be born within it."""
    if not spawning.KNOWS_GROUPS:
        return None
    return divisible_place()


def divisible_place() -> str | None:
    """Return the directory of this process's group, if other groups may be made in it."""
    try:
        places = places_in(read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
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
        return read(f"{place}/cgroup.type") == "domain\n"
    except FileNotFoundError:  # the root of all has no type
        return True
