"""Verifies the log and its read tables, and reports as a plain record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from reactorcide.cli import exits, rebuilding
from reactorcide.cli.exits import Stop
from reactorcide.cli.progress import Progress
from reactorcide.cli.settings import Settings
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore, ObjectStoreError
from reactorcide.eventstore.proof import bundle, bundle_walk, copies
from reactorcide.eventstore.proof.bundle import BundleBroken
from reactorcide.eventstore.proof.copies import Directory, NoCheckpoints
from reactorcide.eventstore.proof.findings import Finding
from reactorcide.eventstore.proof.rows import Copy
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import NoteBroken, Signer, Verifier, signing_key
from reactorcide.migrations.schema import check_schema
from reactorcide.projections import bundling, checkpoint_copies, log_walk, sealed_log
from reactorcide.projections.bundling import Bundled, NothingSealed, Selection


@dataclass(frozen=True, slots=True)
class Held:
    """What a log is to be held against, as the command's options say it."""

    public_keys: Sequence[str]
    """As texts or files; none: the one of the key file."""
    directories: Sequence[str]
    has_tables: bool
    """Whether the read tables are to be compared too."""


async def verify(uri: str, settings: Settings, held: Held) -> dict[str, Any]:
    """Verify the log of a database, then its read tables. Raises DatabaseError and Stop."""
    await check_schema(uri)
    database = Database(uri)
    # Before the log's snapshot: what is signed after it is not in it.
    trust = await _trust(database, settings, held)
    progress = Progress("verifying the log")
    try:
        seen = await log_walk.verify_log(database, trust, progress, _objects(settings))
    except ObjectStoreError as error:
        raise Stop(exits.UNAVAILABLE, error.detail) from None
    finally:
        progress.end()
    tables: list[dict[str, Any]] = []
    if held.has_tables and seen.finding is None:
        tables = await rebuilding.verify_some(uri, rebuilding.chosen(None))
    unequal = [table["name"] for table in tables if not table["is_equal"]]
    return {
        "is_right": seen.finding is None and not unequal,
        "log": trust.keys[0].name,
        "events": seen.events,
        "position": seen.position,
        "checkpoints": seen.checkpoints,
        "copies": len(trust.copies),
        "events_not_sealed": seen.not_sealed,
        "seconds": round(seen.seconds, 3),
        "wrong": shown(seen.finding),
        "tables": tables,
    }


def verify_bundle(path: str, settings: Settings, held: Held) -> dict[str, Any]:
    """Verify a bundle with a public key alone. Raises Stop."""
    try:
        log = bundle.read_header(Path(path))["log"]
        kept = directories(held.directories)
        keys = public_keys(held.public_keys) or (_own_key(settings, log),)
        found = tuple(copy for one in kept for copy in one.copies)
        seen = bundle_walk.verify_bundle(Path(path), Trust(keys, found))
    except BundleBroken as error:
        raise Stop(exits.UNEQUAL, f"the bundle {path} is broken: {error}") from None
    except OSError as error:
        raise Stop(exits.USAGE, f"can't read {path}: {error.strerror}") from None
    return {
        "is_right": seen.finding is None,
        "log": seen.log,
        "holds": seen.holds,
        "events": seen.events,
        "position": seen.position,
        "checkpoints": seen.checkpoints,
        "wrong": shown(seen.finding),
    }


async def write_bundle(uri: str, path: str, selection: Selection, settings: Settings) -> Bundled:
    """Write a bundle. Raises DatabaseError and Stop."""
    await check_schema(uri)
    progress = Progress("writing the bundle")
    try:
        return await bundling.write_bundle(
            Database(uri), Path(path), selection, progress, _objects(settings)
        )
    except ObjectStoreError as error:
        raise Stop(exits.UNAVAILABLE, error.detail) from None
    except NothingSealed as error:
        raise Stop(exits.NOT_FOUND, str(error)) from None
    except OSError as error:
        raise Stop(exits.USAGE, f"can't write {path}: {error.strerror}") from None
    finally:
        progress.end()


async def _trust(database: Database, settings: Settings, held: Held) -> Trust:
    connection = await database.connect()
    try:
        origin = await sealed_log.origin(connection)
    finally:
        await connection.close()
    keys = public_keys(held.public_keys) or (_own_key(settings, origin),)
    kept = directories(held.directories)
    stored = await _in_store(settings)
    found = [copy for one in kept for copy in one.copies]
    return Trust(keys, (*stored, *found), kept)


def public_keys(given: Sequence[str]) -> tuple[Verifier, ...]:
    """Return the keys in texts, or in files of that name. Raises Stop."""
    keys = []
    for text in given:
        path = Path(text)
        try:
            keys.append(Verifier.parse(path.read_text("ascii") if path.is_file() else text))
        except (NoteBroken, OSError, UnicodeDecodeError) as error:
            raise Stop(exits.USAGE, f"--public-key {text!r} can't be used: {error}") from None
    return tuple(keys)


def _own_key(settings: Settings, origin: str) -> Verifier:
    """Return the public half of the key that signs here; never makes one."""
    path = settings.log_key_file
    if not path.is_file():
        raise Stop(
            exits.USAGE,
            f"there is no key in {path} to verify signatures with",
            "set REACTORCIDE_LOG_KEY_FILE, or give --public-key",
        )
    try:
        return Signer(origin, signing_key(path)).verifier
    except (OSError, ValueError) as error:
        raise Stop(exits.USAGE, f"can't use the log's key in {path}: {error}") from None


def directories(given: Sequence[str]) -> tuple[Directory, ...]:
    """Return the directories that checkpoints are kept in. Raises Stop."""
    try:
        return tuple(Directory(Path(path)) for path in given)
    except (NoCheckpoints, OSError) as error:
        raise Stop(exits.USAGE, f"--checkpoints: no checkpoint in {error}") from None


async def _in_store(settings: Settings) -> list[Copy]:
    """Return the copies in the object store, where there is one already."""
    objects = _objects(settings)
    if objects is None:
        return []
    try:
        return await copies.in_store(objects, checkpoint_copies.PREFIX)
    except ObjectStoreError as error:
        raise Stop(exits.UNAVAILABLE, error.detail) from None


def _objects(settings: Settings) -> ObjectStore | None:
    """Return the object store; None for a directory that is not there: to ask it would make it."""
    url = settings.object_store_url
    is_directory = url.startswith("file://")
    if is_directory and not Path(unquote(url.removeprefix("file://"))).is_dir():
        return None
    return ObjectStore(url)


def shown(finding: Finding | None) -> dict[str, Any] | None:
    """Return a finding as a plain record."""
    if finding is None:
        return None
    return {
        "kind": str(finding.kind),
        "position": finding.position,
        "until": finding.until or finding.position,
        "stream_type": finding.stream_type,
        "stream_id": finding.stream_id,
        "detail": finding.detail,
        "text": finding.text,
    }
