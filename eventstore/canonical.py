"""Canonical JSON (RFC 8785): the same bytes for the same value, however it was written.

Keys in the order of their UTF-16 code units, numbers as ECMAScript writes doubles, nothing
escaped that need not be. The RFC wants I-JSON (RFC 7493), which has no whole numbers but those
that a double holds; a log may have more (int64), and two that differ must not look alike in it. So
a whole number that its double's text is not is written with all its digits.

The library's C encoder writes just that for values without very large or small numbers and
characters beyond the Basic Multilingual Plane; only those others are walked in Python.
"""

import json
import math
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

_WHOLE_DIGITS: Final = 15
"""So many digits are exact in a double."""
_LEAST_PLAIN: Final = 1e-4
_TOO_LARGE: Final = 1e15
_LARGEST_PLAIN: Final = 21
_SMALLEST_PLAIN: Final = -6
_LAST_OF_BMP: Final = "\uffff"


class _NotPlain(Exception):  # noqa: N818  caught here
    """The C encoder would not write this number as the RFC wants."""


def canonical(value: Any) -> bytes:  # noqa: ANN401  any JSON
    """Return the canonical form of a value as `json.loads` makes it.

    Raises ValueError for what JSON can't say: no number, a lone surrogate, another type; and for
    a number beyond all doubles.
    """
    return _written(value).encode()


def canonical_text(text: str) -> bytes:
    """Return the canonical form of JSON text. Raises ValueError as `canonical`."""
    try:
        plain = _encode(_decode(text))
    except _NotPlain:
        return canonical(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not plain.isascii() and max(plain) > _LAST_OF_BMP:
        return canonical(json.loads(text))
    return plain.encode()


def _whole(digits: str) -> int:
    if len(digits) > _WHOLE_DIGITS:
        raise _NotPlain
    return int(digits)


def _plain_double(digits: str) -> float:
    """Return what the C encoder writes as the RFC wants: in this stretch Python does so too."""
    number = float(digits)
    if not _LEAST_PLAIN <= abs(number) < _TOO_LARGE:
        raise _NotPlain
    return int(number) if number.is_integer() else number


def _refuse(number: str) -> NoReturn:
    msg = f"{number} is not JSON"
    raise ValueError(msg)


_decode: Final = json.JSONDecoder(
    parse_int=_whole, parse_float=_plain_double, parse_constant=_refuse
).decode
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


def _written(value: Any) -> str:  # noqa: ANN401  any JSON
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return encode_basestring(value)
        case float():
            return number_text(value)
        case int():
            return _whole_text(value)
        case list() | tuple():
            return "[" + ",".join(map(_written, value)) + "]"
        case dict():
            names = sorted(value, key=_utf_16)
            pairs = (f"{encode_basestring(name)}:{_written(value[name])}" for name in names)
            return "{" + ",".join(pairs) + "}"
        case _:
            msg = f"{type(value).__name__} is not JSON"
            raise ValueError(msg)


def _utf_16(name: str) -> bytes:
    return name.encode("utf-16-be")


def _whole_text(number: int) -> str:
    """Return an integer as its double is written, or all its digits where that is another one."""
    try:
        text = number_text(float(number))
    except OverflowError:
        return number_text(math.inf)
    return text if Decimal(text) == number else str(number)


def number_text(number: float) -> str:
    """Return a double as ECMAScript writes it (ECMA-262, Number::toString, radix 10)."""
    if not math.isfinite(number):
        raise ValueError("a number that no double holds")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    # Both take the shortest digits that read back as the same double; they differ in layout.
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    point -= len(digits) - len(digits.lstrip("0"))
    digits = digits.strip("0")
    return sign + _laid_out(digits, point)


def _laid_out(digits: str, point: int) -> str:
    """Write digits whose decimal point comes behind the first `point` of them."""
    if len(digits) <= point <= _LARGEST_PLAIN:
        return digits.ljust(point, "0")
    if 0 < point <= _LARGEST_PLAIN:
        return f"{digits[:point]}.{digits[point:]}"
    if _SMALLEST_PLAIN < point <= 0:
        return "0." + "0" * -point + digits
    fraction = "." + digits[1:] if digits[1:] else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
