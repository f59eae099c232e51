"""One server for all systems, and a fresh database for every measurement of each.

A system's tables are made once, in a database of its own; every measurement then gets a copy of
that, so that none finds what another left behind.
"""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from reactorcide.benchmarks.ending import running
from reactorcide.benchmarks.harness import with_database
from reactorcide.cli.embedded import SETTINGS, EmbeddedPostgres
from reactorcide.eventstore.database import Connection

_ROOMY_BYTES: Final = 4 << 30
_SHOWN: Final = ("shared_buffers", "synchronous_commit", "fsync", "max_wal_size")


class Databases:
    """The databases of one run, named after it, on one server."""

    def __init__(self, admin: Connection, base: str) -> None:
        self._admin = admin
        self._base = base
        self._made: set[str] = set()

    async def settings(self) -> str:
        """Return the server's version and the settings that figures depend on."""
        shown = [f"{name} {await self._show(name)}" for name in _SHOWN]
        return ", ".join([await self._show("server_version"), *shown])

    async def make(self, system: str) -> str:
        """Make an empty database for a system's tables; return its URI."""
        return await self._create(f"peers_{system}_{os.getpid()}", "template1")

    async def fresh(self, system: str) -> str:
        """Copy the system's database as it was made; return the copy's URI."""
        name = f"peers_{system}_{os.getpid()}"
        return await self._create(f"{name}_run", name)

    async def settle(self, uri: str) -> None:
        """Vacuum, analyze and checkpoint, so that none of it falls into what is timed."""
        connection = await asyncpg.connect(uri)
        await connection.execute("VACUUM ANALYZE")
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CHECKPOINT")
        await connection.close()

    async def drop_all(self) -> None:
        """Drop every database that was made."""
        for name in sorted(self._made):
            await self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _create(self, name: str, template: str) -> str:
        self._made.add(name)
        await self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await self._admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return with_database(self._base, name)

    async def _show(self, name: str) -> str:
        shown: str = await self._admin.fetchval("SELECT current_setting($1)", name)
        return shown


@asynccontextmanager
async def databases() -> AsyncIterator[Databases]:
    """Give databases on `BENCH_DB_URI`, else on a server that ends with the run."""
    async with _server() as base:
        admin = await asyncpg.connect(base)
        made = Databases(admin, base)
        try:
            yield made
        finally:
            await made.drop_all()
            await admin.close()


@asynccontextmanager
async def _server() -> AsyncIterator[str]:
    given = os.environ.get("BENCH_DB_URI")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="rc-peers-") as directory:
        settings = {**SETTINGS, "shared_buffers": _shared_buffers()}
        async with running(EmbeddedPostgres(Path(directory), settings=settings)) as base:
            yield base


def _shared_buffers() -> str:
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "1GB" if has >= _ROOMY_BYTES else "128MB"
