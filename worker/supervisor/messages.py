"""What a worker and its supervisor say to each other.

Both are of the same version: one has started the other. Times are those of `clock`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias


class Start(NamedTuple):
    """Start a command; brings the descriptors of its stdout and stderr. Answered by one message."""

    tree: int
    """Names the command and all that descends from it."""
    attempt: str
    """Names the attempt that it belongs to."""
    until: float
    """When that attempt must be over, unless it is held on to."""
    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]


class Halt(NamedTuple):
    """TERM to all of a tree now, KILL so much later; 0: KILL now.

    Asked again, the earlier KILL counts.
    """

    tree: int
    grace_seconds: float


class Hold(NamedTuple):
    """These attempts may go on for longer; those are not this worker's any more: kill them."""

    until: float
    held: Sequence[str]
    lost: Sequence[str]


class NotStarted(NamedTuple):
    """Nothing was started. `detail` says why; None: the attempt's time is over."""

    tree: int
    detail: str | None


class Ended(NamedTuple):
    """Nothing of the tree is left."""

    tree: int
    exit_code: int | None
    """128 + n when signal n killed it; None when not even KILL ends it."""
    is_lost: bool
    """It was killed because its attempt's time was over."""


Message: TypeAlias = Start | Halt | Hold | NotStarted | Ended

_BY_NAME: Final[Mapping[str, type[Message]]] = {
    kind.__name__: kind for kind in (Start, Halt, Hold, NotStarted, Ended)
}


def encode(message: Message) -> list[object]:
    """Return a message as plain values."""
    return [type(message).__name__, *message]


def decode(words: Sequence[Any]) -> Message:
    """Return the message that `encode` was given."""
    return _BY_NAME[words[0]](*words[1:])
