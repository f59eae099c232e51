"""Secret values that must never show, and how other programs than ours would write them down."""

import base64
import json
import random
import shlex
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_MARKS: Final = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "
_FAR: Final = "äßéñλжש中文🔑"
_ALPHABETS: Final = (_LETTERS, _LETTERS + _MARKS, _MARKS, _LETTERS + _FAR, _FAR + _MARKS)


def canaries(count: int, seed: int = 1) -> list[str]:
    """Return values of many kinds, each at least four bytes and at most a line long."""
    chance = random.Random(seed)  # noqa: S311  the same ones every time
    found: list[str] = []
    while len(found) < count:
        letters = chance.choice(_ALPHABETS)
        size = chance.choice((4, 5, 6, 7, 8, 12, 16, 20, 32, 40))
        value = "".join(chance.choice(letters) for _ in range(size))
        if value == value.strip():
            found.append(value)
    return found


def writings(value: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield how it may be written: a name, what is written, and what may be seen of that."""
    data = value.encode()
    for name, text in _literally(value):
        yield name, b"<" + text.encode() + b">", b"<***>"
    for before in (b"", b"a", b"ab", b"user:"):
        for after in (b"", b"\n", b"@h", b"xyz"):
            whole = before + data + after
            first, last = 8 * len(before) // 6, -(-8 * (len(before) + len(data)) // 6)
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                code = encode(whole)
                shown = code[:first] + b"***" + code[last:]
                yield f"base64 after {before!r}, before {after!r}", code, shown


def _literally(value: str) -> Iterator[tuple[str, str]]:
    data = value.encode()
    yield "as it is", value
    yield "hex", data.hex()
    yield "HEX", data.hex().upper()
    yield "url", quote(value)
    yield "url, all of it", quote(value, safe="")
    yield "url, lower case", _lowered(quote(value, safe=""))
    yield "form", quote_plus(value)
    yield "form, lower case", _lowered(quote_plus(value))
    yield "json", json.dumps(value)[1:-1]
    yield "json, as it is", json.dumps(value, ensure_ascii=False)[1:-1]
    yield "quoted for a shell", _in_apostrophes(shlex.quote(value))
    yield "quoted for a shell, otherwise", value.replace("'", "'\\''")


def _lowered(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _in_apostrophes(quoted: str) -> str:
    return quoted[1:-1] if quoted.startswith("'") else quoted
