"""What `postmaster.pid` tells about the server of a data directory. Starts and stops nothing.

Its lines are described in the comments of PostgreSQL's src/include/utils/pidfile.h.
"""

import os
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PORT: Final = 5432  # names the socket's file; nothing listens on TCP
ANSWER_SECONDS: Final = 5
# Anybody may ask for TLS and gets one byte back: PostgreSQL's "Message Formats", SSLRequest.
SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_SOCKET_LINE: Final = 4
_STATUS_LINE: Final = 7


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A server that runs: its id, where it listens, and whether it takes connections by now."""

    pid: int
    socket_dir: Path | None
    status: str

    def answers(self) -> bool:
        """Ask whether it takes connections: its file says so, and so does it."""
        if self.status != "ready" or self.socket_dir is None:
            return False
        return _answers(socket_file(self.socket_dir))


def running_postmaster(data: Path) -> Postmaster | None:
    """Return the server that runs on this data, None when none does (a stale file says nothing)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    has_socket = len(lines) > _SOCKET_LINE and bool(lines[_SOCKET_LINE].strip())
    found = Postmaster(
        pid=pid,
        socket_dir=Path(lines[_SOCKET_LINE].strip()) if has_socket else None,
        status=lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else "starting",
    )
    return found if _serves(found, data) else None


def socket_file(socket_dir: Path) -> Path:
    """Name the file that clients connect to."""
    return socket_dir / f".s.PGSQL.{PORT}"


def _serves(postmaster: Postmaster, data: Path) -> bool:
    """Tell a living server from a process that happens to have its number now."""
    if sys.platform == "linux":
        try:
            # A server stays in its data directory; a zombie is nowhere.
            return Path(f"/proc/{postmaster.pid}/cwd").readlink() == data.resolve()
        except OSError:
            return False
    return postmaster.socket_dir is not None and _answers(socket_file(postmaster.socket_dir))


def _answers(path: Path) -> bool:
    """Hear it say something: a server being killed still has a socket that can be connected to."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(os.fspath(path))
            probe.sendall(SSL_REQUEST)
            return probe.recv(1) in {b"N", b"S"}
        except OSError:
            return False
