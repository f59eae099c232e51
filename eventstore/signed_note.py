"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint), with Ed25519.

What any tool for transparency logs reads: a text, a blank line, a line for each signature. The
key is 32 bytes in a file outside of the database. No library on the package index does this for
every Python that we run on; cryptography does the arithmetic.
"""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from reactorcide.eventstore.sealing import key_from_file

_ED25519: Final = b"\x01"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_DASH: Final = "\N{EM DASH} "
_CHECKPOINT_LINES: Final = 3


class NoteBroken(Exception):  # noqa: N818  named by what is so, like the rejections
    """It is no signed note, no checkpoint, or not signed by the key that it should be."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key, and the name that its signatures carry."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before each signature."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public_key).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """The key as other tools take it: `name+hash+key`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read `name+hash+key`. Raises NoteBroken."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        key = _bytes(encoded)
        if len(key) != 1 + _KEY_BYTES or not key.startswith(_ED25519):
            raise NoteBroken("not an Ed25519 key in the form name+hash+key")
        found = cls(_name(name), key[1:])
        if found.key_id.hex() != key_id:
            raise NoteBroken("the key is not the one that its hash is of")
        return found

    def open(self, note: str) -> str:
        """Return the text of a note that this key signed. Raises NoteBroken.

        Signatures of other keys are passed over, as the format says.
        """
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  20 ms
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  as above
            Ed25519PublicKey,
        )

        text, ours = self._parts(note)
        if not ours:
            msg = f"not signed by {self.name}+{self.key_id.hex()}"
            raise NoteBroken(msg)
        key = Ed25519PublicKey.from_public_bytes(self.public_key)
        for signature in ours:
            try:
                key.verify(signature, text.encode())
            except InvalidSignature:
                msg = f"the signature of {self.name} does not fit the text"
                raise NoteBroken(msg) from None
        return text

    def _parts(self, note: str) -> tuple[str, list[bytes]]:
        """Return the text, and the signatures that say they are by this key."""
        head, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise NoteBroken("a signed note has a blank line before its signatures")
        ours = []
        for line in lines.removesuffix("\n").split("\n"):
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            signature = _bytes(encoded)
            if not line.startswith(_DASH) or len(signature) <= _ID_BYTES:
                raise NoteBroken("a signature's line is malformed")
            if name == self.name and signature.startswith(self.key_id):
                ours.append(signature[_ID_BYTES:])
        return head + "\n", ours


class Signer:
    """Signs with one key of 32 bytes, under a name (ValueError for what can't be one)."""

    def __init__(self, name: str, key: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  20 ms
            Ed25519PrivateKey,
        )

        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.verifier = Verifier(_name(name), self._key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        """Show which key, never the key."""
        return f"Signer({self.verifier.text})"

    def sign(self, text: str) -> str:
        """Return the signed note of a text, which ends with a new line."""
        if not text.endswith("\n"):
            msg = "the text of a note ends with a new line"
            raise ValueError(msg)
        signature = _base64(self.verifier.key_id + self._key.sign(text.encode()))
        return f"{text}\n{_DASH}{self.verifier.name} {signature}\n"


def signing_key(path: Path) -> bytes:
    """Return the key in a file; made there first, readable by its owner only.

    Programs that start at the same time get the same key. Raises OSError, and ValueError for
    a file that holds something else.
    """
    return key_from_file(path)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a signed checkpoint says: whose log, how many leaves, the root over them."""

    origin: str
    tree_size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.tree_size}\n{_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "TreeHead":
        """Read it; further lines are let pass, as the format says. Raises NoteBroken."""
        lines = text.split("\n")
        if len(lines) <= _CHECKPOINT_LINES:
            raise NoteBroken("a checkpoint has three lines at least")
        origin, size, root, *_ = lines
        if not (size.isascii() and size.isdecimal()) or (size != "0" and size.startswith("0")):
            raise NoteBroken("the tree size of the checkpoint is not a number")
        found = cls(origin, int(size), _bytes(root))
        if len(found.root) != sha256().digest_size:
            raise NoteBroken("the root of the checkpoint is not a SHA-256")
        return found


def _name(text: str) -> str:
    if not text or "+" in text or any(character.isspace() for character in text):
        msg = f"{text!r} can't be the name of a key"
        raise NoteBroken(msg)
    return text


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise NoteBroken("not base64") from None
