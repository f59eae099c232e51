"""What a program of the client asks its shell to do, and what it is told. Does none of it.

A program is a generator: it yields steps, is sent the reply to each, and returns its result.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request below the API's base, the same each time that it is sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """JSON."""
    is_repeatable: bool = False
    """Whether twice does what once does."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the request and read the whole answer."""

    request: Request
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Open:
    """Send the request and read the head of its answer; all of it when it is a refusal.

    A stream that is open already is closed first.
    """

    request: Request
    timeout_seconds: float
    silent_seconds: float
    """How long the stream may bring nothing before it counts as lost."""


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for a piece of the open stream: `content` of the answer, empty at the end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Show(Generic[T]):
    """Hand an item to the caller."""

    item: T


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names in small letters; of a pause, nothing."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came, or not all of it: whether the API acted is not known."""

    reason: str


Step: TypeAlias = Ask | Open | Read | Pause
Reply: TypeAlias = Answer | Lost

Program: TypeAlias = Generator[Step, Reply, T]
"""Returns its result when done."""

Feed: TypeAlias = Generator[Step | Show[T], Reply, None]
"""Shows its results one by one."""
