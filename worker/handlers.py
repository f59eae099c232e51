"""Python functions that run jobs in the worker: `@handler("name")`, and how they are found.

What follows from a call is said in `handler_attempt`; nothing here knows how a job ends.
"""

import asyncio
import importlib
import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

import structlog

from reactorcide.worker.coordinator import AttemptKey, ClaimedAttempt
from reactorcide.worker.handler_log import JobLog, LogDoor
from reactorcide.worker.runner import Stream

Function: TypeAlias = Callable[..., object]
F = TypeVar("F", bound=Function)

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:-]{0,254}", re.ASCII)
_POSITIONAL: Final = frozenset(
    {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
)
_VARIABLE: Final = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


_MAKING: Final = threading.Lock()


class HandlersUnusable(Exception):  # noqa: N818  named by what is so, like the rejections
    """The worker can't start with these handlers; `detail` says why, in one line."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Attempt:
    """What a handler may know of the attempt it works on."""

    __slots__ = ("_claimed", "_door", "_job_log", "_loop", "is_cancelled")

    def __init__(
        self, claimed: ClaimedAttempt, door: LogDoor, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._claimed = claimed
        self._door = door
        self._loop = loop
        self._job_log: JobLog | None = None
        self.is_cancelled = False
        """The attempt should stop. For functions in threads; an async one is cancelled."""

    @property
    def key(self) -> AttemptKey:
        """Job and number in one."""
        return self._claimed.key

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return self._claimed.key.job_id

    @property
    def attempt(self) -> int:
        """Which attempt of the job it is, from 1 on."""
        return self._claimed.key.attempt

    @property
    def queue_name(self) -> str:
        """The queue that the job came from."""
        return self._claimed.submitted.queue_name

    @property
    def labels(self) -> Mapping[str, str]:
        """The job's labels."""
        return MappingProxyType(self._claimed.submitted.labels)

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger whose lines go to the job's log, and the worker's; so do all others' here."""
        logger: structlog.stdlib.BoundLogger = structlog.get_logger(self._claimed.submitted.handler)
        return logger.bind(job_id=str(self.job_id), attempt=self.attempt)

    def write(self, stream: Stream, text: str) -> None:
        """Add text to the job's log as it stands, from any thread."""
        if self._job_log is None:
            with _MAKING:
                if self._job_log is None:
                    self._job_log = JobLog(self._door, self._claimed.key, self._loop)
        self._job_log.write(stream, text)

    @property
    def job_log(self) -> JobLog | None:
        """The job's log; None as long as nothing was written."""
        return self._job_log


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that runs jobs, and how it is called."""

    name: str
    function: Function
    is_async: bool
    """Else it runs in a thread."""
    takes_attempt: bool
    """As its second argument, after the job's args."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """All that a worker can call, by name."""

    by_name: Mapping[str, Handler]

    def missing(self, name: str | None) -> str:
        """Say that there is none of this name, and which there are."""
        if not self.by_name:
            return f"no handler is called {name!r}; this worker has none"
        return f"no handler is called {name!r}; this worker has: {', '.join(sorted(self.by_name))}"


NO_HANDLERS: Final = Handlers(MappingProxyType({}))

_registered: Final[dict[str, Handler]] = {}


def handler(name: str) -> Callable[[F], F]:
    """Let the function run the jobs that name this handler; it stays an ordinary function.

    It is called as `function(args)`, or as `function(args, attempt)` when it has a second
    positional parameter that is called `attempt` or has no default. What it returns must be JSON
    of at most 64 KiB. Async functions share the worker's event loop, others get a thread.

    Raises HandlersUnusable for a name that can't be one or is taken, and for a function that
    can't be called so.
    """
    if not _NAME.fullmatch(name):
        raise HandlersUnusable(
            detail=f"{name!r} can't name a handler, allowed: [a-zA-Z0-9][a-zA-Z0-9._:-]{{0,254}}"
        )

    def register(function: F) -> F:
        taken = _registered.get(name)
        if taken is not None and taken.function is not function:
            raise HandlersUnusable(
                detail=f"two handlers are called {name!r}: "
                f"{_place_of(taken.function)} and {_place_of(function)}"
            )
        _registered[name] = _handler_of(name, function)
        return function

    return register


def load(modules: Iterable[str]) -> Handlers:
    """Import modules (`package.module`, or `path/to/file.py`) and return all registered handlers.

    The working directory is looked in first. Raises HandlersUnusable.
    """
    asked = tuple(modules)
    if not asked:
        return NO_HANDLERS
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    for module in asked:
        try:
            _import(module)
        except HandlersUnusable as error:
            raise HandlersUnusable(detail=f"{module}: {error.detail}") from None
        except (Exception, SystemExit) as error:
            raise HandlersUnusable(
                detail=f"{module} can't be imported: {type(error).__name__}: {_one_line(error)}"
            ) from error
    if not _registered:
        raise HandlersUnusable(detail=f"{', '.join(asked)}: no function has @handler(...)")
    return Handlers(MappingProxyType(dict(_registered)))


def _import(module: str) -> None:
    if not module.endswith(".py"):
        importlib.import_module(module)
        return
    path = Path(module).resolve()
    if path.stem in sys.modules:
        known = getattr(sys.modules[path.stem], "__file__", None)
        if known != str(path):
            raise HandlersUnusable(detail=f"another module is called {path.stem!r} already")
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        msg = "there is no such file"
        raise HandlersUnusable(msg)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    try:
        spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _handler_of(name: str, function: Function) -> Handler:
    """Decide once how the function is called."""
    called = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise HandlersUnusable(detail=f"handler {name!r} ({_place_of(function)}) is a generator")
    parameters = list(inspect.signature(function).parameters.values())
    takes_many = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    positional = [one for one in parameters if one.kind in _POSITIONAL]
    takes_attempt = len(positional) > 1 and (
        positional[1].default is positional[1].empty or positional[1].name == "attempt"
    )
    rest = [one for one in parameters if one not in positional[: 1 + takes_attempt]]
    needed = [one for one in rest if one.default is one.empty and one.kind not in _VARIABLE]
    if not (positional or takes_many) or needed:
        raise HandlersUnusable(
            detail=f"handler {name!r} ({_place_of(function)}) must take (args) or (args, attempt)"
        )
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
    return Handler(name, function, is_async, takes_attempt)


def _place_of(function: Function) -> str:
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}.{name}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
