"""A projection's table as a whole: copy its shape, compare it, put another in its place.

Names of tables go into statements on the server, by format() with %I.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from reactorcide.eventstore.database import Connection
from reactorcide.projections.projection import Projection
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

Kind: TypeAlias = Literal["missing", "surplus", "changed"]

Rows: TypeAlias = Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]]

_FORMAT: Final = "SELECT format($1::text, $2::text, $3::text, $4::text)"


@dataclass(frozen=True, slots=True)
class Digest:
    """What is equal of two tables when they hold the same rows, in whatever order."""

    rows: int
    digest: str
    """The sum of PostgreSQL's 64-bit hashes of the rows. It finds accidents and edits, not a
    forger who computes collisions: that is for the log's own proofs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the log has it."""

    key: UUID
    kind: Kind
    """`missing` from the live table, `surplus` in it, or `changed`."""
    columns: tuple[str, ...]
    """Those that differ in a changed row."""


async def statement(connection: Connection, name: str, projection: Projection, other: str) -> str:
    """Return a statement of table.sql about the projection's table and one called `other`."""
    text: str = await connection.fetchval(
        _FORMAT, SQL[name], projection.name, other, projection.key
    )
    return text


async def run(connection: Connection, name: str, projection: Projection, other: str) -> None:
    """Execute a statement of table.sql."""
    await connection.execute(await statement(connection, name, projection, other))


async def copy(connection: Connection, projection: Projection, table: str, rows: Rows) -> None:
    """COPY rows into a table of the projection's shape, all of them or none."""
    await connection.copy_records_to_table(table, records=rows, columns=projection.columns)


async def index(connection: Connection, projection: Projection, other: str) -> None:
    """Give `other` the indexes of the projection's table."""
    for change in await connection.fetch(SQL["indexes"], projection.name, other):
        await connection.execute(change[0])


async def forget(
    connection: Connection, projection: Projection, table: str, stream_ids: Sequence[UUID]
) -> None:
    """Drop the rows of some streams."""
    await connection.execute(await statement(connection, "forget", projection, table), stream_ids)


async def digest(connection: Connection, table: str) -> Digest:
    """Return the digest of a table as the connection sees it."""
    text = await connection.fetchval(_FORMAT, SQL["digest"], table, None, None)
    row = await connection.fetchrow(text)
    assert row is not None  # noqa: S101  an aggregate always has a row
    return Digest(row["rows"], row["digest"])


async def differences(
    connection: Connection, projection: Projection, other: str, limit: int
) -> tuple[Difference, ...]:
    """Return in what the live table differs from `other`, at most `limit` rows, by key."""
    text = await statement(connection, "differences", projection, other)
    return tuple(
        Difference(row["key"], row["kind"], tuple(row["columns"]))
        for row in await connection.fetch(text, limit)
    )


async def replace(connection: Connection, projection: Projection, other: str) -> None:
    """Put `other` in the place of the projection's table: same names, owner, options, grants.

    In the caller's transaction, which must hold the lock.
    """
    live = projection.name
    indexes = await connection.fetch(SQL["index_names"], live)
    changes = await connection.fetch(SQL["settings"], live, other)
    changes += await connection.fetch(SQL["constraint_names"], other, live)
    for change in changes:
        await connection.execute(change[0])
    await run(connection, "replace", projection, other)
    await run(connection, "rename", projection, other)
    names, definitions = [row[0] for row in indexes], [row[1] for row in indexes]
    for change in await connection.fetch(SQL["rename_indexes"], live, names, definitions):
        await connection.execute(change[0])
