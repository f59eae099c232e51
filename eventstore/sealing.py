"""Sealed values: secrets at rest, opened only by the worker that holds the claim.

AES-256-GCM (NIST SP 800-38D) with a random nonce for each value; the value's name is bound
in, so that a sealed value can't be passed off under another name. The key lives outside the
database.
"""

import base64
import binascii
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32

_VERSION: Final = "v1"
_NONCE_BYTES: Final = 12


class SealBroken(Exception):  # noqa: N818  named by what is so, like the rejections
    """The value was not sealed with this key and name, or was changed; `name` is whose."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"sealed value of {name}: {detail}")
        self.name = name


class Sealer:
    """Seals and opens with one key of 32 bytes (ValueError for another length)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            msg = f"the key must be {KEY_BYTES} bytes, not {len(key)}"
            raise ValueError(msg)
        self._key = key
        self.key_id = hashlib.sha256(key).hexdigest()[:8]

    def __repr__(self) -> str:
        """Show which key, never the key."""
        return f"Sealer({self.key_id})"

    def seal(self, plain: str, name: str) -> str:
        """Return `v1.<key id>.<base64 of nonce and ciphertext>`, another one each time."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  20 ms

        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self._key).encrypt(nonce, plain.encode(), name.encode())
        return f"{_VERSION}.{self.key_id}.{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, name: str) -> str:
        """Return the plain value. Raises SealBroken."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  20 ms
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  20 ms

        raw = self._raw(sealed, name)
        try:
            opened = AESGCM(self._key).decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], name.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise SealBroken(name, "it was changed, or sealed under another name") from error
        return opened.decode()

    def _raw(self, sealed: str, name: str) -> bytes:
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        if version != _VERSION:
            raise SealBroken(name, "it is not in a form this program knows")
        if key_id != self.key_id:
            raise SealBroken(name, f"it needs key {key_id!r}, this program has {self.key_id!r}")
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise SealBroken(name, "it is not base64") from error


def key_from_file(path: Path) -> bytes:
    """Return the key in `path` (base64); made there first, readable by its owner only.

    Programs that start at the same time get the same key. Raises OSError, and ValueError for
    a file that holds something else.
    """
    if not path.exists():
        _make_key_file(path)
    try:
        key = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except (UnicodeDecodeError, binascii.Error) as error:
        msg = f"{path} is not base64"
        raise ValueError(msg) from error
    if len(key) != KEY_BYTES:
        msg = f"{path} holds {len(key)} bytes, not {KEY_BYTES}"
        raise ValueError(msg)
    return key


def _make_key_file(path: Path) -> None:
    """Write a whole file aside and link it into place: nobody reads half a key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(aside)
    except FileExistsError:
        pass  # another program was faster: its key holds
    finally:
        Path(aside).unlink()
