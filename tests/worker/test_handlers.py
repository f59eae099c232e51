"""Python functions that run jobs: how they are registered and found, and what they may return."""

import functools
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import JsonValue

from reactorcide.eventstore.domain.job import Completed, Failed
from reactorcide.tests.worker import handlers_at_work
from reactorcide.worker.handler_attempt import ERROR_LETTERS, completed
from reactorcide.worker.handlers import (
    NO_HANDLERS,
    HandlersUnusable,
    handler,
    load,
)

# Registering


class Counter:
    """A handler that remembers."""

    async def __call__(self, args: Any) -> Any:
        """Run a job."""

    def method(self, args: Any, attempt: Any) -> Any:
        """Run a job in a thread."""


async def plain(args: Any) -> Any:
    """Take what is given."""


async def with_attempt(args: Any, attempt: Any = None) -> Any:
    """Take the attempt as well, by its name."""


async def with_second(args: Any, current: Any, /) -> Any:
    """Take the attempt as well, by its place."""


def with_option(args: Any, retries: int = 3, *, more: int = 0, **rest: Any) -> Any:
    """Have a parameter that is for others."""


def with_many(*given: Any) -> Any:
    """Take anything."""


@pytest.mark.parametrize(
    ("function", "is_async", "takes_attempt"),
    [
        (plain, True, False),
        (with_attempt, True, True),
        (with_second, True, True),
        (with_option, False, False),
        (with_many, False, False),
        (Counter(), True, False),
        (Counter().method, False, True),
        (functools.partial(with_second, 1), True, False),
    ],
)
def test_how_a_function_is_called_is_decided_once(
    function: Callable[..., Any], *, is_async: bool, takes_attempt: bool
) -> None:
    """By its signature, when it is registered; the function itself stays what it is."""
    name = f"test.{uuid4()}"
    assert handler(name)(function) is function
    found = load([handlers_at_work.__name__]).by_name[name]
    assert (found.is_async, found.takes_attempt) == (is_async, takes_attempt)


def takes_nothing() -> None:
    """Be no handler."""


def needs_more(args: Any, attempt: Any, more: Any) -> None:
    """Be no handler."""


def needs_a_name(args: Any, *, more: Any) -> None:
    """Be no handler."""


async def generates(args: Any) -> AsyncIterator[int]:
    """Be no handler."""
    yield args


@pytest.mark.parametrize("function", [takes_nothing, needs_more, needs_a_name, generates])
def test_a_function_that_cannot_be_called_so_is_refused(function: Callable[..., Any]) -> None:
    """When it is registered, not when a job comes."""
    with pytest.raises(HandlersUnusable, match=r"test\.bad"):
        handler("test.bad")(function)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "é", "a" * 256])
def test_a_name_that_no_job_could_give_is_refused(name: str) -> None:
    """It is what the API takes."""
    with pytest.raises(HandlersUnusable, match="can't name a handler"):
        handler(name)


def test_two_handlers_of_one_name_are_refused() -> None:
    """With the places of both; the same function again does no harm."""
    name = f"test.{uuid4()}"
    handler(name)(plain)
    handler(name)(plain)
    with pytest.raises(HandlersUnusable, match=r"plain and .*with_attempt"):
        handler(name)(with_attempt)


# Loading


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    return tmp_path


def a_handler(name: str) -> str:
    """Return the text of a module with a handler."""
    return (
        "from reactorcide.worker.handlers import handler\n"
        f"@handler({name!r})\nasync def run(args): return args\n"
    )


def test_handlers_are_loaded_from_modules_and_files(folder: Path) -> None:
    """Of the working directory first; loading again finds the same."""
    (folder / "app_a").mkdir()
    (folder / "app_a" / "jobs.py").write_text(a_handler("test.module"))
    (folder / "app_b.py").write_text(a_handler("test.file"))
    asked = ("app_a.jobs", "./app_b.py")
    first, again = load(asked), load(asked)
    assert {"test.module", "test.file"} <= first.by_name.keys()
    assert first == again
    assert load(()) is NO_HANDLERS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "ModuleNotFoundError: No module named 'app_c'"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def (", "SyntaxError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (a_handler("test.echo"), "two handlers are called 'test.echo'"),
        (a_handler("no name"), "can't name a handler"),
    ],
)
def test_what_cannot_be_loaded_says_why(folder: Path, text: str | None, words: str) -> None:
    """In one line, with the module's name."""
    if text is not None:
        (folder / "app_c.py").write_text(text)
    with pytest.raises(HandlersUnusable, match=r"^app_c") as caught:
        load(["app_c"])
    assert words in caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_file_that_is_not_there_says_so(folder: Path) -> None:
    """A path is no module's name; one that hides another module is refused."""
    (folder / "json.py").write_text("")
    for path, words in (("./gone.py", "no such file"), ("./json.py", "another module")):
        with pytest.raises(HandlersUnusable, match=words):
            load([path])


# Results


@dataclass
class Mail:
    """Something that has a natural form in JSON."""

    sent: date
    to: tuple[str, ...] = ("ada",)


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (None, None),
        ({"a": None, "b": [None, 1, 1.5, True, "é"]}, {"a": None, "b": [None, 1, 1.5, True, "é"]}),
        (Mail(date(2030, 1, 2)), {"sent": "2030-01-02", "to": ["ada"]}),
        ({1: {2}}, {"1": [2]}),
        ("\\u0000", "\\u0000"),
        (2**70, 2**70),
        ("x" * 65_534, "x" * 65_534),
    ],
)
def test_a_result_is_kept_as_json(returned: Any, value: JsonValue) -> None:
    """Nulls inside of it as well; no exit code, for no command ran."""
    assert completed("x", returned) == Completed(value, None)


def nested(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("x" * 65_535, "the result of 'x' has 65537 bytes as JSON, at most 65536 are kept"),
        (["é" * 40_000], "80004 bytes"),
        (object(), "no JSON"),
        (float("nan"), "no JSON"),
        ("\ud800", "no JSON"),
        (b"\xff", "no JSON"),
        (nested(5000), "no JSON"),
        ("a\0b", "\\u0000"),
        ({"\\\0": 1}, "\\u0000"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_attempt(returned: Any, words: str) -> None:
    """And says why, with the handler's name and its size."""
    outcome = completed("x", returned)
    assert isinstance(outcome, Failed)
    assert outcome.exit_code is None
    assert words in outcome.error
    assert "'x'" in outcome.error
    assert len(outcome.error) <= ERROR_LETTERS
