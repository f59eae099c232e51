"""An export of the audit trail on its way into a file: gone on with, held against its manifest.

While it is incomplete it is FILE.part, beside FILE.part.json which tells of what. Behind its last
whole record it is gone on with, up to the position that was fixed when it began. FILE is there
when it is whole, after FILE.manifest.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from reactorcide.api.exports.export import TO_POSITION
from reactorcide.api.exports.formats import FORMATS, Format, NoRecord
from reactorcide.cli import exits
from reactorcide.cli.client import Client, Refused, Unreachable
from reactorcide.cli.exits import Stop
from reactorcide.cli.output import note

PATH: Final = "/audit/export"

_TRIES: Final = 4
_PAUSE_SECONDS: Final = 1.0
_SIGNING_SECONDS: Final = 3600.0
_UNAVAILABLE: Final = 503
_PIECE_BYTES: Final = 1024 * 1024


class Done(NamedTuple):
    """A file that is whole."""

    events: int | None
    """How many it has; None: nobody signed for it."""
    to: int
    """Up to which position."""


class _Begun(NamedTuple):
    """What FILE.part.json says."""

    query: Mapping[str, Any]
    to: int


class Export:
    """One export into one file. `told` is told the position it is at, and the last one."""

    def __init__(
        self,
        client: Client,
        query: Mapping[str, Any],
        path: Path,
        told: Callable[[int, int], None],
    ) -> None:
        self._client = client
        self._query = {name: value for name, value in query.items() if value is not None}
        self._path = path
        self._told = told
        self._form: Format = FORMATS[query["format"]]
        self._part = path.with_name(f"{path.name}.part")
        self._begun_path = path.with_name(f"{path.name}.part.json")
        self._begun: _Begun | None = None
        self._at = 0
        self._broken: Unreachable | None = None

    def run(self) -> Done:
        """Fetch what is missing, and finish. Raises Stop, Refused, OSError."""
        tries = _TRIES
        while (begun := self._attempt()) is None:
            before, self._at = self._at, self._whole()[1] or 0
            tries = _TRIES if self._at > before else tries - 1
            if not tries:
                raise Stop(
                    exits.UNAVAILABLE,
                    f"the export broke off: {self._broken}",
                    "run it again: it goes on where it stopped",
                )
            time.sleep(_PAUSE_SECONDS)
        return Done(self._finish(begun), begun.to)

    def _attempt(self) -> _Begun | None:
        """Fetch what is missing; None when the line broke."""
        try:
            return self._fetch()
        except Unreachable as error:
            self._broken = error
            return None

    def _fetch(self) -> _Begun:
        """Append what is missing; return what the whole file is."""
        self._begun = self._read_begun()
        end, position = self._whole() if self._begun else (0, None)
        query = dict(self._query)
        if self._begun is not None:
            query["to"] = self._begun.to
            if position is not None:
                query["after"] = position
                note(f"going on behind position {position}")
        with self._part.open("ab") as file:
            file.truncate(end)
            for piece in self._client.stream(PATH, query=query, opened=self._note_end):
                file.write(piece)
                self._tell(piece)
            file.flush()
            os.fsync(file.fileno())
        assert self._begun is not None  # noqa: S101  the answer was opened
        return self._begun

    def _read_begun(self) -> _Begun | None:
        try:
            begun = _Begun(**json.loads(self._begun_path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            begun = _Begun({}, 0)
        if begun.query != self._query:
            raise Stop(
                exits.USAGE,
                f"{str(self._part)!r} is the beginning of another export",
                f"remove {str(self._begun_path)!r} to begin anew",
            )
        return begun

    def _note_end(self, headers: Mapping[str, str]) -> None:
        """Write down up to where the file goes, before the first byte of it."""
        if self._begun is None:
            self._begun = _Begun(self._query, int(headers[TO_POSITION.lower()]))
            _write(self._begun_path, json.dumps(self._begun._asdict()).encode())

    def _whole(self) -> tuple[int, int | None]:
        """Return where the last whole record of the part ends, and the position of that."""
        try:
            with self._part.open("rb") as file:
                return last_record(file, self._form)
        except FileNotFoundError:
            return 0, None

    def _tell(self, piece: bytes) -> None:
        """Tell the position of a record in the piece, if it has a whole one."""
        lines = piece.splitlines(keepends=True)
        try:
            position = self._form.position(lines[-2]) if len(lines) > 2 else None  # noqa: PLR2004
        except NoRecord:
            return
        if position is not None and self._begun is not None:
            self._told(position, self._begun.to)

    def _finish(self, begun: _Begun) -> int | None:
        """Hold the file against its manifest, and give both their names."""
        count = None
        try:
            signed = self._manifest(begun)
        except Refused as refused:
            if refused.status != _UNAVAILABLE:
                raise
            note(f"no manifest: {refused.message}")
        else:
            said = json.loads(signed.split(b"\n", 2)[1])
            if digest_of(self._part) != said["sha256"]:
                raise Stop(
                    exits.UNAVAILABLE,
                    "the file is not what the manifest was signed for",
                    f"remove {str(self._part)!r} and {str(self._begun_path)!r}, and begin anew",
                )
            count = int(said["count"])
            _write(manifest_of(self._path), signed)
        self._part.replace(self._path)
        self._begun_path.unlink()
        return count

    def _manifest(self, begun: _Begun) -> bytes:
        query = {**self._query, "to": begun.to}
        pieces = self._client.stream(
            f"{PATH}/manifest", query=query, patience=lambda: _SIGNING_SECONDS
        )
        return b"".join(pieces)


def manifest_of(path: Path) -> Path:
    """Return where the manifest of a file is."""
    return path.with_name(f"{path.name}.manifest")


def last_record(file: BinaryIO, form: Format) -> tuple[int, int | None]:
    """Return where the last whole record ends, and its position; None for a head, or nothing.

    A record ends with its line, but for a line break in quotes, which CSV may have.
    """
    end = last_end = 0
    record, last = b"", b""
    for line in file:
        end += len(line)
        record += line
        if line.endswith(b"\n") and (form is not FORMATS["csv"] or record.count(b'"') % 2 == 0):
            last_end, last, record = end, record, b""
    try:
        return last_end, form.position(last) if last else None
    except NoRecord:
        return last_end, None


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
