"""One HTTP/1.1 connection of a client, over a socket; httptools (llhttp) reads the answers.

The standard library's http.client takes 40 ms to import, a third of all the time that `run` has
until the first line of its job; this takes 10. Knows no resource and no error of the API.
"""

import socket
from collections.abc import Mapping
from typing import Final

import httptools

_PIECE_BYTES: Final = 65_536
_INFORMATIONAL: Final = range(100, 200)
_PORTS: Final = {"http": 80, "https": 443}


class BrokenAnswerError(OSError):
    """The answer, or the wait for it, ended before its end."""


class NoHttpError(OSError):
    """What came is no HTTP, or what was to be sent can't be."""


class Connection:
    """Connects when first used. One exchange at a time: read an answer before the next request.

    What fails raises OSError (TimeoutError, BrokenAnswerError, NoHttpError); close it then.
    """

    def __init__(self, scheme: str, host: str, port: int | None) -> None:
        self._scheme = scheme
        self._address = (host, port or _PORTS[scheme])
        name = f"[{host}]" if ":" in host else host
        self._host = name if port is None else f"{name}:{port}"
        self._socket: socket.socket | None = None

    def request(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes, seconds: float
    ) -> "Incoming":
        """Send a request; return the answer, its head read. Each step may take `seconds`."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if content or method not in {"GET", "HEAD"}:
            lines.append(f"Content-Length: {len(content)}")
        if any(not line.isprintable() for line in lines):
            message = "a header or path can't hold control characters"
            raise NoHttpError(message)
        head = "\r\n".join([*lines, "", ""]).encode()
        connected = self._connected(seconds)
        connected.sendall(head + content)
        return Incoming(connected)

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self, seconds: float) -> socket.socket:
        if self._socket is None:
            opened = socket.create_connection(self._address, timeout=seconds)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self._secured(opened) if self._scheme == "https" else opened
        self._socket.settimeout(seconds)
        return self._socket

    def _secured(self, opened: socket.socket) -> socket.socket:
        import ssl  # takes 10 ms

        return ssl.create_default_context().wrap_socket(opened, server_hostname=self._address[0])


class Incoming:
    """An answer that is coming in. Header names in small letters; repeated ones are joined."""

    def __init__(self, connected: socket.socket) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_complete = False
        self._has_head = False
        self._pieces: list[bytes] = []
        self._socket = connected
        self._parser = httptools.HttpResponseParser(self)
        while not self._has_head:
            self._receive()

    @property
    def leaves_open(self) -> bool:
        """Whether the connection may be used again once this is complete."""
        return self.is_complete and self._parser.should_keep_alive()

    def set_patience(self, seconds: float) -> None:
        """Let the next read take this long at most."""
        self._socket.settimeout(seconds)

    def read_some(self) -> bytes:
        """Return what has come of the content, waiting for at least a byte; b"" at its end."""
        while not self._pieces and not self.is_complete:
            self._receive()
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content

    def read_all(self) -> bytes:
        """Return the (rest of the) content."""
        return b"".join(iter(self.read_some, b""))

    def _receive(self) -> None:
        data = self._socket.recv(_PIECE_BYTES)
        if not data:
            # Without a length and without chunks the end of the connection is the content's.
            framed = self.headers.keys() & {"content-length", "transfer-encoding"}
            if not self._has_head or framed:
                message = "the server closed the connection"
                raise BrokenAnswerError(message)
            self.is_complete = True
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            message = "the answer is no HTTP"
            raise NoHttpError(message) from error

    # What the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        """Take the status; 1xx come before the answer itself."""
        status = self._parser.get_status_code()
        if status in _INFORMATIONAL:
            self.headers.clear()
        else:
            self.status, self._has_head = status, True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the content."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Note the end."""
        self.is_complete = self._has_head
