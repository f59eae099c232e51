"""The text of a token: `rct_`, 30 random base62 characters, 6 of their CRC-32.

The checksum tells a typo from a token that was never ours without asking the database. It
proves nothing: only the SHA-256 that the log knows does.
"""

import hashlib
import re
import secrets
import zlib
from typing import Final, NamedTuple

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HEAD: Final = "rct_"
_RANDOM_LETTERS: Final = 30
_CHECK_LETTERS: Final = 6
_SHOWN_LETTERS: Final = 10
_SHAPE: Final = re.compile(r"rct_[0-9A-Za-z]{36}", re.ASCII)


class TokenText(NamedTuple):
    """A new token: the text is shown once, hash and prefix are kept."""

    text: str
    token_hash: str
    prefix: str


def new_token_text() -> TokenText:
    """Return a fresh token with 178 bits of the system's randomness."""
    body = _HEAD + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LETTERS))
    text = body + _check_of(body)
    return TokenText(text, hash_of(text), text[:_SHOWN_LETTERS])


def hash_of(text: str) -> str:
    """Return what is kept of a token: its hex SHA-256 (it has entropy enough to need no salt)."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_token_text(text: str) -> bool:
    """Tell whether `text` has a token's shape and checksum."""
    return bool(_SHAPE.fullmatch(text)) and text[-_CHECK_LETTERS:] == _check_of(
        text[:-_CHECK_LETTERS]
    )


def _check_of(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = []
    for _ in range(_CHECK_LETTERS):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))
