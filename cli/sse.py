"""Server-sent events out of a stream of bytes (WHATWG HTML, section 9.2). Pure; knows no event."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ServerSentEvent(NamedTuple):
    """One event. `last_id` is the latest id that the stream has named, its own or an earlier."""

    type: str
    data: str
    last_id: str | None


def events_in(pieces: Iterable[bytes]) -> Iterator[ServerSentEvent]:
    """Yield each event as soon as its empty line is read. An unfinished one is dropped."""
    kind, data, last_id = "message", list[str](), None
    for line in _lines(pieces):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "data":
                data.append(value)
            case "id":
                last_id = value
            case "" if not line:
                if data:
                    yield ServerSentEvent(kind, "\n".join(data), last_id)
                kind, data = "message", []
            case _:  # a comment (the heartbeat), or a field that we have no use for
                pass


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield complete lines. They may end with CR LF, LF, or (only between pieces' ends) CR."""
    rest = b""
    for piece in pieces:
        *complete, rest = (rest + piece).split(b"\n")
        for line in complete:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
