r"""JSON as the API takes it: UTF-8, strict, and nothing PostgreSQL could refuse later.

Refused: what is no JSON (400), and what is JSON but ambiguous or not storable (422): duplicate
keys, `\u0000`, lone surrogates, numbers outside int64 or finite double, nesting deeper than 64.
Says nothing about which fields a request has: that is `models`.

A body in which nothing can be wrong is read by a fast parser and leaves at once. Any other goes
through a slow one, whose hooks leave a mark where something is wrong; only then, or when the raw
bytes hold an escape or many brackets, a walk looks for the place. Whatever is refused is refused
by the slow one.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from pydantic_core import from_json, to_json

from reactorcide.api.errors import Problem, invalid_field, malformed_request, pointer_of

MAX_DEPTH: Final = 64
_INT64: Final = 2**63
_INT64_DIGITS: Final = 20

_DOUBTFUL: Final = object()
_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))  # noqa: PLR2004  0, 9
_LONG_NUMBER: Final = b"0" * 19
"""As many digits as a number outside of int64 has, at least."""


class _Flawed:
    """Stands in a parsed value where something is wrong."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


class _Duplicated(dict[str, Any]):
    """An object that named `key` twice."""

    key = ""


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; raises Problem (400, 422)."""
    value = _plain(body)
    if value is _DOUBTFUL:
        value = _parse(body)
    if not isinstance(value, dict):
        raise invalid_field(pointer="", code="object_type", message="Must be a JSON object")
    return value


def _plain(body: bytes) -> Any:  # noqa: ANN401 - JSON may be anything
    """Return the JSON in `body` if nothing is wrong with it for sure; _DOUBTFUL else.

    A key that occurs twice is lost, and its colon with it: written anew the value has fewer than
    the body, unless a colon was written as an escape.
    """
    if b"\\u00" in body or _LONG_NUMBER in body.translate(_DIGITS):
        return _DOUBTFUL
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return _DOUBTFUL
    anew = to_json(value)
    if anew.count(b":") != body.count(b":") or b"Infinity" in anew:
        return _DOUBTFUL
    is_flat = anew.count(b"[") + anew.count(b"{") <= MAX_DEPTH
    return value if is_flat or _is_shallow(value) else _DOUBTFUL


def _is_shallow(value: Any) -> bool:  # noqa: ANN401 - JSON may be anything
    """Say whether nothing is nested too deep, one level after the other."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return True
    return False


def _parse(body: bytes) -> Any:  # noqa: ANN401 - JSON may be anything
    marks = len(_marks)
    try:
        value = _DECODER.decode(body.decode())
    except RecursionError:
        raise _too_deep(pointer="") from None
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8 (byte {error.start})"
        raise malformed_request(detail) from None
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise malformed_request(detail) from None
    finally:
        is_marked = len(_marks) > marks
        del _marks[marks:]
    if is_marked or b"\\u" in body or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _refuse_flaws(value)
    return value


def _mark(code: str, message: str) -> _Flawed:
    flaw = _Flawed(code, message)
    _marks.append(flaw)
    return flaw


def _integer(text: str) -> int | _Flawed:
    if len(text) <= _INT64_DIGITS and -_INT64 <= (number := int(text)) < _INT64:
        return number
    return _mark("int64_range", "The number is outside of int64")


def _real(text: str) -> float | _Flawed:
    if math.isfinite(number := float(text)):
        return number
    return _mark("double_range", "The number is outside of a finite double")


def _constant(text: str) -> _Flawed:
    return _mark("json_invalid", f"{text} is not JSON")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    twice = _Duplicated(value)
    keys = [key for key, _ in pairs]
    twice.key = next(key for key in value if keys.count(key) > 1)
    _marks.append(twice)
    return twice


# One decoder for all: making it costs as much as a small body. Parsing does not wait, so the
# marks of two bodies never mix.
_marks: Final[list[_Flawed | _Duplicated]] = []
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


def _refuse_flaws(value: Any) -> None:  # noqa: ANN401 - JSON may be anything
    for path, found in _walk(value):
        match found:
            case _Flawed(code="json_invalid"):
                raise malformed_request(found.message, pointer_of(path))
            case _Flawed():
                raise invalid_field(pointer_of(path), found.code, found.message)
            case _Duplicated():
                _refuse_duplicate((*path, found.key))
            case str():
                _refuse_text(path, found)
            case dict() | list() if len(path) >= MAX_DEPTH:
                raise _too_deep(pointer_of(path))
            case _:
                pass


def _refuse_duplicate(path: tuple[str | int, ...]) -> NoReturn:
    raise invalid_field(pointer_of(path), "duplicate_key", "The key occurs twice")


def _refuse_text(path: tuple[str | int, ...], text: str) -> None:
    if "\0" in text:
        raise invalid_field(_printable(path), "null_character", "\\u0000 is not allowed")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise invalid_field(_printable(path), "lone_surrogate", "A lone surrogate is not allowed")


def _printable(path: tuple[str | int, ...]) -> str:
    """Return a pointer that can itself be sent: the refused text may be a key."""
    return pointer_of(path).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _too_deep(pointer: str) -> Problem:
    return invalid_field(pointer, "too_deep", f"Nested deeper than {MAX_DEPTH}")


def _walk(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401 - JSON
    """Yield every value with its path, and every key as a text; outer before inner."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, found = waiting.pop()
        yield path, found
        if isinstance(found, dict):
            for key, inner in found.items():
                yield (*path, key), key
                waiting.append(((*path, key), inner))
        elif isinstance(found, list):
            waiting.extend(((*path, nth), inner) for nth, inner in enumerate(found))
