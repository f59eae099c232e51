"""What is said of an exported file, and signed: a C2SP signed note by the log's own key.

Its first line names the log and what it is (so that it can't be taken for a checkpoint of the
tree, which the same key signs), its second is RFC 8785 JSON. Reads no table, and no file.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from reactorcide.eventstore.canonical import canonical
from reactorcide.eventstore.signed_note import NoteBroken, Signer, Verifier

_KIND: Final = "/export/v1"


class Sealed(BaseModel):
    """The newest signed checkpoint of the tree when the manifest was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tree_size: int
    root: str
    """Base64, as in the checkpoint."""
    last_position: int
    """What lies before it in the file is in the tree."""


class Manifest(BaseModel):
    """What the file is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    filters: Mapping[str, Any]
    """As they were asked for; {}: everything."""
    after: int | None
    """The file begins behind this position; None: at the log's beginning."""
    to: int
    """It has all that passes the filters up to this position."""
    first_position: int | None
    last_position: int | None
    count: int
    bytes: int
    sha256: str
    checkpoint: Sealed | None
    made_at: str

    def signed(self, signer: Signer) -> str:
        """Return the signed note. The signer's name is the log's."""
        body = canonical(self.model_dump(mode="json")).decode()
        return signer.sign(f"{signer.verifier.name}{_KIND}\n{body}\n")

    @classmethod
    def opened(cls, note: str, verifier: Verifier) -> Self:
        """Return what a note says. Raises NoteBroken."""
        head, _, body = verifier.open(note).partition("\n")
        if head != f"{verifier.name}{_KIND}":
            raise NoteBroken("signed by this key, but no manifest of an export")
        try:
            return cls.model_validate(json.loads(body))
        except (ValueError, ValidationError):
            raise NoteBroken("not a manifest that this version reads") from None
