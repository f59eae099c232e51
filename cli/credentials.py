"""The admin's token of a data dir: made at the first start, kept in a file for its owner alone."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from reactorcide.cli import accounts
from reactorcide.cli.settings import DEFAULT_API_URL
from reactorcide.eventstore.database import Database
from reactorcide.projections import tokens

ADMIN: Final = "admin"
LIFETIME_SECONDS: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the file holds."""

    url: str
    token: str
    user: str


async def ensure_admin(database_uri: str, path: Path, url: str | None) -> Credentials:
    """Return credentials that open everything, from the file if those still hold, else new ones.

    The file then says `url` too, where there is one. Raises DatabaseError, and NotLegal when the
    user was deactivated.
    """
    kept = _read(path)
    connection = await Database(database_uri).connect()
    try:
        if kept is None or not await _holds(connection, kept.token):
            kept = Credentials(DEFAULT_API_URL, await _new_token(connection), ADMIN)
    finally:
        await connection.close()
    credentials = Credentials(url or kept.url, kept.token, kept.user)
    _write(path, credentials)
    return credentials


async def _holds(connection: "asyncpg.Connection[asyncpg.Record]", token: str) -> bool:
    found = await tokens.authenticate(connection, hashlib.sha256(token.encode()).hexdigest())
    return found is not None and "admin" in found.user.roles


async def _new_token(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    asked = accounts.checked(
        accounts.TokenFields, username=ADMIN, roles=["admin"], name="reactorcide up", scopes=None
    )
    return (await accounts.create_token(connection, asked, LIFETIME_SECONDS)).made.text


def _read(path: Path) -> Credentials | None:
    try:
        kept = json.loads(path.read_bytes())
        return Credentials(str(kept["url"]), str(kept["token"]), str(kept["user"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, credentials: Credentials) -> None:
    """Put the whole file in place at once, readable by its owner only."""
    content = {"url": credentials.url, "token": credentials.token, "user": credentials.user}
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
