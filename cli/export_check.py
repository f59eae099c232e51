"""An exported file held against its manifest, with the public key alone. Asks nobody."""

from pathlib import Path

from reactorcide.api.exports.manifest import Manifest
from reactorcide.cli import exits
from reactorcide.cli.exits import Stop
from reactorcide.cli.exporting import digest_of, manifest_of
from reactorcide.eventstore.signed_note import NoteBroken, Verifier


def check(path: Path, manifest_path: Path | None, public_key: str) -> Manifest:
    """Return what the manifest says of the file, if that is so.

    `public_key` is `name+hash+key`, or a file that holds it. Raises Stop: exit 1 when file or
    manifest were changed, 2 when there is nothing to check.
    """
    verifier = _verifier(public_key)
    try:
        note = (manifest_path or manifest_of(path)).read_bytes().decode()
        size, digest = path.stat().st_size, digest_of(path)
    except OSError as error:
        raise Stop(exits.USAGE, f"can't read {error.filename!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(exits.UNEQUAL, "the manifest is no signed note") from None
    try:
        said = Manifest.opened(note, verifier)
    except NoteBroken as error:
        raise Stop(exits.UNEQUAL, f"the manifest does not hold: {error}") from None
    if (size, digest) != (said.bytes, said.sha256):
        raise Stop(
            exits.UNEQUAL,
            f"{str(path)!r} is not the file that was signed for",
            f"signed: {said.bytes} bytes, SHA-256 {said.sha256}",
            f"found:  {size} bytes, SHA-256 {digest}",
        )
    return said


def _verifier(public_key: str) -> Verifier:
    try:
        path = Path(public_key)
        return Verifier.parse(path.read_text("utf-8") if path.is_file() else public_key)
    except (OSError, UnicodeDecodeError, NoteBroken) as error:
        raise Stop(exits.USAGE, f"--public-key {public_key!r} can't be used: {error}") from None
