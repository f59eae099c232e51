"""Run a program as somebody else than root: `python unprivileged.py WAY UID GID PROGRAM ARG…`.

PostgreSQL refuses to run as root. Started by root, this file becomes the program in one of two
ways, and says nothing of its own:

* `namespace`: in a user namespace in which root goes by another id. Files stay root's.
* `setuid`: as that user itself, with the right to pass folders that only root may pass
  (an ambient capability), for where user namespaces are off, as in Docker. The data must
  belong to that user.

Runs as a script, before anything else is imported: no import of ours, and no thread yet.
Exit 97: this way is not open here.
"""

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Final

NOT_OPEN: Final = 97

# linux/sched.h, linux/prctl.h, linux/capability.h
_CLONE_NEWUSER: Final = 0x10000000
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_DAC_OVERRIDE: Final = 1


def enter_namespace(uid: int, gid: int) -> None:
    """Go by uid and gid in a new user namespace, while staying who we are outside."""
    outside_uid, outside_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(_CLONE_NEWUSER))
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{uid} {outside_uid} 1")
    (own / "gid_map").write_text(f"{gid} {outside_gid} 1")


def become(uid: int, gid: int) -> None:
    """Become the user for good; keep passing root's folders where the system lets us."""
    is_linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    if is_linux:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if is_linux:
        _keep_capability(libc, _CAP_DAC_OVERRIDE)


def _keep_capability(libc: ctypes.CDLL, capability: int) -> None:
    """Carry one capability over the exec; without it only open folders can be passed."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    bit = 1 << capability
    # effective, permitted, inheritable for capabilities 0-31, then the same for 32-63
    data = struct.pack("=6I", bit, bit, bit, 0, 0, 0)
    if libc.capset(header, data) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main(argv: list[str]) -> None:
    """Become the program. Returns never."""
    way, uid, gid, *command = argv
    try:
        (enter_namespace if way == "namespace" else become)(int(uid), int(gid))
    except (OSError, AttributeError):
        sys.exit(NOT_OPEN)
    os.execv(command[0], command)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
