"""One end of the socket between a worker and its supervisor: whole messages, with descriptors.

Neither end ever waits for the other: what does not fit into the socket is kept until it does.
What the messages say is written in `messages`.
"""

import array
import marshal
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from reactorcide.worker.supervisor.messages import Message, decode, encode

_HEAD: Final = struct.Struct("!IB")
_READ_BYTES: Final = 65_536
_MOST_DESCRIPTORS: Final = 64
"""In one sending; the kernel takes 253 (SCM_MAX_FD in unix(7))."""
_MOST_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Hangup(Exception):  # noqa: N818  named by what is so
    """The other end is closed: its process has ended."""


class Received(NamedTuple):
    """A message, and the descriptors it brought: whoever takes it closes them."""

    message: Message
    descriptors: Sequence[int]


class _Unsent(NamedTuple):
    data: bytes
    descriptors: Sequence[int]


class Wire:
    """Sends from any thread; is read by one."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)  # noqa: FBT003  its parameter has no name
        self._socket = end
        self._lock = threading.Lock()
        self._unsent: deque[_Unsent] = deque()
        self._read = bytearray()
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send, or keep for `flush`; return whether all is sent.

        The descriptors are closed here once they are sent. What is sent to an end that is closed
        is lost; `receive` tells of that.
        """
        self.keep(message, descriptors)
        return self.flush()

    def keep(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Keep for the next `flush` or `send`: what is sent at once wakes the other end once."""
        # Not JSON: one program, twice. To write and to read a start so takes a third of the time.
        body = marshal.dumps(encode(message))
        frame = _HEAD.pack(len(body), len(descriptors)) + body
        with self._lock:
            self._unsent.append(_Unsent(frame, descriptors))

    def flush(self) -> bool:
        """Send what is left, as far as it fits; return whether nothing is left."""
        with self._lock:
            return self._flush()

    def receive(self) -> list[Received]:
        """Take what one read brings; call again while there is more. Raises Hangup at the end."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _READ_BYTES, _MOST_ANCILLARY_BYTES, _CLOSE_ON_EXEC
            )
        except BlockingIOError:
            return []
        except OSError as error:
            raise Hangup from error
        if not data:
            raise Hangup
        for _, _, packed in ancillary:  # asked for nothing else but SCM_RIGHTS
            self._descriptors += array.array("i", packed)
        self._read += data
        return list(self._whole())

    def close(self) -> None:
        """Hang up; may be repeated."""
        with self._lock:
            for unsent in self._unsent:
                close_all(unsent.descriptors)
            self._unsent.clear()
            close_all(self._descriptors)
            self._descriptors.clear()
            self._socket.close()

    def _whole(self) -> Iterator[Received]:
        """Take the whole messages off what was read."""
        while len(self._read) >= _HEAD.size:
            size, count = _HEAD.unpack_from(self._read)
            end = _HEAD.size + size
            if len(self._read) < end:
                return
            message = decode(marshal.loads(self._read[_HEAD.size : end]))  # noqa: S302  our own
            del self._read[:end]
            descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            yield Received(message, descriptors)

    def _flush(self) -> bool:
        while self._unsent:
            data, descriptors = self._joined()
            try:
                sent = self._sent(data, descriptors)
            except BlockingIOError:
                self._unsent.appendleft(_Unsent(data, descriptors))
                return False
            except OSError:  # nobody is there to read it
                sent = len(data)
            # Descriptors go with the first byte.
            close_all(descriptors)
            if sent < len(data):
                self._unsent.appendleft(_Unsent(data[sent:], ()))
        return True

    def _joined(self) -> _Unsent:
        """Take what goes next: all that there is, unless that is too much for one sending."""
        first = self._unsent.popleft()
        if not self._unsent:
            return first
        size, descriptors, frames = len(first.data), [*first.descriptors], [first.data]
        while self._unsent and size < _READ_BYTES:
            data, more = self._unsent[0]
            if len(descriptors) + len(more) > _MOST_DESCRIPTORS:
                break
            self._unsent.popleft()
            size += len(data)
            frames.append(data)
            descriptors += more
        return _Unsent(b"".join(frames), descriptors)

    def _sent(self, data: bytes, descriptors: Sequence[int]) -> int:
        if not descriptors:
            return self._socket.send(data)
        return socket.send_fds(self._socket, [data], list(descriptors))


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
