"""The ways in which programs write a value down: what has to be hidden beside the value itself.

Pure. Everything returned is a literal, so that one search finds all; a long value is cut into
pieces that overlap, each with its own forms, so that no literal is long.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

SHORTEST_BYTES: Final = 4
"""What is shorter is no secret, and would hide half of what is printed."""

_PIECE_LETTERS: Final = 128
_OVERLAP_LETTERS: Final = 4
"""More than the three bytes that base64 writes together: nothing shows between two pieces."""

_UNQUOTED: Final = ("", "/", "-_.!~*'()", ";,/?:@&=+$-_.!~*'()#")
"""What programs leave alone in a URL: RFC 3986, paths, and JavaScript's two functions."""

_HTML_IN_JSON: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_UPPER_HTML_IN_JSON: Final = str.maketrans({"<": "\\u003C", ">": "\\u003E", "&": "\\u0026"})
_ANSI_C: Final = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\t": "\\t",
        "\n": "\\n",
        "\v": "\\v",
        "\f": "\\f",
        "\r": "\\r",
        "\x1b": "\\E",
        "'": "\\'",
        "\\": "\\\\",
    }
)
_IN_DOUBLE_QUOTES: Final = str.maketrans({one: f"\\{one}" for one in '"$`\\'})
_BARE_IN_SHELL: Final = str.maketrans(
    {
        one: f"\\{one}"
        for one in map(chr, range(128))
        if not (one.isalnum() or one in "%+-./:=@_,\n")
    }
)
_BARE_IN_BASH: Final = str.maketrans({one: f"\\{one}" for one in " \t'\"\\|&;()<>!{}*[]?^$`,"})
_OCTAL: Final = {
    byte: chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03o}"  # noqa: PLR2004  the printable ones
    for byte in range(256)
}


def forms(value: str) -> set[bytes]:
    """Return all literals that stand for a value, its lines and its pieces."""
    return {
        form
        for text in _texts(value)
        for piece, is_first, is_last in _pieces(text)
        for form in _forms_of_piece(piece, is_first=is_first, is_last=is_last)
        if len(form) >= SHORTEST_BYTES
    }


def _texts(value: str) -> Iterator[str]:
    """Yield the value, and its lines without the spaces around them."""
    yield value
    for line in value.splitlines():
        if len(line.strip().encode("utf-8", "surrogateescape")) >= SHORTEST_BYTES:
            yield line.strip()


def _pieces(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Yield pieces, and whether they are the first and the last of their text."""
    at, step = 0, _PIECE_LETTERS - _OVERLAP_LETTERS
    while at + _PIECE_LETTERS < len(text):
        yield text[at : at + _PIECE_LETTERS], at == 0, False
        at += step
    yield text[-_PIECE_LETTERS:], at == 0, True


def _forms_of_piece(piece: str, *, is_first: bool, is_last: bool) -> Iterator[bytes]:
    data = piece.encode("utf-8", "surrogateescape")
    yield data
    yield data.hex().encode()
    yield data.hex().upper().encode()
    if not (piece.isascii() and piece.isalnum()):
        for text in (*_in_urls(data), *_in_json(piece), *_in_shells(piece)):
            yield text.encode("utf-8", "surrogateescape")
    for plain in _in_base64(data, is_first=is_first, is_last=is_last):
        yield plain
        yield plain.translate(_TO_BASE64URL)


_TO_BASE64URL: Final = bytes.maketrans(b"+/", b"-_")


def _in_base64(data: bytes, *, is_first: bool, is_last: bool) -> Iterator[bytes]:
    """Yield what is to be seen of some bytes inside of a longer text in base64 (RFC 4648).

    By how many bytes stand before them, modulo three. A letter at either end may tell of them
    and of their neighbours: all letters that it can be are yielded too, beside the rest.
    """
    for before in range(3):
        first, last = (8 * before + 5) // 6, 8 * (before + len(data)) // 6
        yield b64encode(bytes(before) + data)[first:last]
        if is_first and before:
            for low in range((1, 4, 16)[before]):
                start = bytes(before - 1) + bytes((low,))
                yield b64encode(start + data)[before:last]
        open_bits = 8 * (before + len(data)) % 6
        if is_last and open_bits:
            for high in range(1 << (6 - open_bits)):
                end = bytes((high << (2 + open_bits),))
                yield b64encode(bytes(before) + data + end)[first : last + 1]


def _in_urls(data: bytes) -> Iterator[str]:
    for safe in _UNQUOTED:
        yield from _both_cases(quote(data, safe=safe))
    yield from _both_cases(quote_plus(data))


def _both_cases(quoted: str) -> tuple[str, str]:
    """Return a quoted text with its escapes in upper and in lower case."""
    head, *rest = quoted.split("%")
    return quoted, "%".join((head, *(part[:2].lower() + part[2:] for part in rest)))


def _in_json(text: str) -> Iterator[str]:
    """Yield what stands between the quotes (RFC 8259), by what writers escape and how."""
    for is_ascii in (True, False):
        written = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        for one in (written, _with_upper_escapes(written)):
            yield one
            yield one.replace("/", "\\/")
            yield one.translate(_HTML_IN_JSON)
            yield one.translate(_UPPER_HTML_IN_JSON)


def _with_upper_escapes(written: str) -> str:
    head, *rest = written.replace("\\\\", "\0").split("\\u")
    parts = (head, *(part[:4].upper() + part[4:] for part in rest))
    return "\\u".join(parts).replace("\0", "\\\\")


def _in_shells(text: str) -> Iterator[str]:
    """Yield what stands between a shell's quotes, and what stands there without any."""
    yield shlex.quote(text).removeprefix("'").removesuffix("'")
    yield text.replace("'", "'\\''")
    yield text.translate(_IN_DOUBLE_QUOTES)
    yield text.translate(_BARE_IN_SHELL)
    bash = text.translate(_BARE_IN_BASH)
    yield bash
    yield bash.replace(":~", ":\\~").replace("=~", "=\\~")
    ansi = text.translate(_ANSI_C)
    yield ansi
    yield ansi.encode("utf-8", "surrogateescape").decode("latin-1").translate(_OCTAL)
