"""The database that the commands on the server's side use: a URI, or a server in the data dir.

Whoever uses the embedded server holds a shared lock on a file; the last one out stops it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reactorcide.cli import exits
from reactorcide.cli.embedded import EmbeddedPostgres
from reactorcide.cli.exits import Stop
from reactorcide.cli.settings import Settings

_USED: Final = "used.lock"


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """Lend the database's URI; blocks while an embedded server starts.

    Raises EmbeddedPostgresError.
    """
    if settings.db_uri is not None:
        yield settings.db_uri
        return
    make_data_dir(settings.data_dir)
    server = EmbeddedPostgres(settings.data_dir)
    with (settings.data_dir / _USED).open("a") as used:
        fcntl.flock(used, fcntl.LOCK_SH)
        try:
            yield server.start()
        finally:
            try:
                fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                server.stop()


def make_data_dir(path: Path) -> None:
    """Make the data dir, for its owner alone, where there is none."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Stop(
            exits.USAGE, f"REACTORCIDE_DATA_DIR={str(path)!r} can't be used: {error.strerror}"
        ) from None


def secret_key_of(settings: Settings) -> bytes:
    """Return the key that seals secrets: the setting's, else the data dir's, made when missing."""
    from reactorcide.eventstore.sealing import key_from_file

    if settings.secret_key is not None:
        return settings.secret_key
    path = settings.data_dir / "secret.key"
    try:
        return key_from_file(path)
    except (OSError, ValueError) as error:
        raise Stop(exits.USAGE, f"can't use the secret key in {path}: {error}") from None


def log_key_of(settings: Settings) -> bytes:
    """Return the key that signs the log's checkpoints, from its file, made when missing."""
    from reactorcide.eventstore.signed_note import signing_key

    path = settings.log_key_file
    try:
        return signing_key(path)
    except (OSError, ValueError) as error:
        raise Stop(exits.USAGE, f"can't use the log's key in {path}: {error}") from None
