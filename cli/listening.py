"""The socket that the API listens on: bound before anything else is started."""

import errno
import os
import socket
from typing import Final

from reactorcide.cli import exits
from reactorcide.cli.exits import Stop

_BACKLOG: Final = 2048


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Stops the command: a port that is taken with exit 3, a host that is none with 2.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise Stop(exits.USAGE, f"REACTORCIDE_HOST={host!r}: no such host") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _stop_of(error, host, port) from None
    return listening


def _stop_of(error: OSError, host: str, port: int) -> Stop:
    if error.errno == errno.EADDRINUSE:
        return Stop(
            exits.UNAVAILABLE,
            f"port {port} on {host} is taken",
            "choose another with --port or REACTORCIDE_PORT",
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Stop(exits.UNAVAILABLE, f"can't listen on {host} port {port}: {reason}")


def adopt(descriptor: int) -> socket.socket:
    """Return the listening socket that whoever started us has bound."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        raise Stop(exits.USAGE, f"--fd={descriptor} is no socket") from None


def url_of(listening: socket.socket) -> str:
    """Return where clients on this machine find it."""
    host, port = listening.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  not bound here
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
