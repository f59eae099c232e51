"""A projection's table as a whole: copy its shape, compare it, put another in its place.

Names of tables go into statements on the server, by format() with %I.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias
from uuid import UUID

from reactorcide.eventstore.database import Connection
from reactorcide.projections import copying
from reactorcide.projections.copying import Encoding
from reactorcide.projections.sql import statements

SQL: Final = statements(__file__)

Kind: TypeAlias = Literal["missing", "surplus", "changed"]

Rows: TypeAlias = bytes | AsyncIterable[bytes]
"""As `encoding` makes them, as many as one likes at a time."""

_FORMAT: Final = """
SELECT format(
    $1::text, $2::text, $3::text, $4::text,
    (SELECT string_agg(quote_ident(name), ', ') FROM unnest($5::text[]) AS c (name)),
    (SELECT string_agg('$' || n, ', ') FROM generate_series(1, cardinality($5::text[])) AS n)
)"""


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

    key: UUID | int
    kind: Kind
    """`missing` from the live table, `surplus` in it, or `changed`."""
    columns: tuple[str, ...]
    """Those that differ in a changed row."""


class Tabled(Protocol):
    """What has a table that is a fold of the log."""

    @property
    def name(self) -> str:
        """Of the table."""

    @property
    def key(self) -> str:
        """The column of its primary key."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of the table's that are a fold."""

    @property
    def carry(self) -> str | None:
        """The statement that brings what is no fold into the rebuilt table."""


def beside(projection: Tabled) -> str:
    """Return the name of the table that is being made anew."""
    return projection.name + "_rebuild"


async def statement(connection: Connection, name: str, projection: Tabled, other: str) -> str:
    """Return a statement of table.sql about the projection's table and one called `other`."""
    return await _formatted(connection, SQL[name], projection, other)


async def _formatted(connection: Connection, template: str, projection: Tabled, other: str) -> str:
    text: str = await connection.fetchval(
        _FORMAT, template, projection.name, other, projection.key, projection.columns
    )
    return text


async def run(connection: Connection, name: str, projection: Tabled, other: str) -> None:
    """Execute a statement of table.sql."""
    await connection.execute(await statement(connection, name, projection, other))


async def create(connection: Connection, projection: Tabled, other: str) -> None:
    """Make an empty table of the same columns, partitioned in the same way, without indexes."""
    for change in await connection.fetch(SQL["create"], projection.name, other):
        await connection.execute(change[0])


async def copy(connection: Connection, projection: Tabled, table: str, rows: Rows) -> None:
    """COPY rows into a table of the projection's shape, all of them or none."""
    await connection.copy_to_table(
        table, source=_enclosed(rows), columns=projection.columns, format="binary"
    )


async def _enclosed(rows: Rows) -> AsyncIterator[bytes]:
    yield copying.BEGIN
    if isinstance(rows, bytes):
        yield rows
    else:
        async for some in rows:
            yield some
    yield copying.END


async def encoding(connection: Connection, projection: Tabled) -> Encoding:
    """Return how rows of a table of the projection's shape are written."""
    found = await connection.fetch(SQL["types"], projection.name, projection.columns)
    return Encoding(row[0] for row in found)


async def index(connections: Sequence[Connection], projection: Tabled, other: str) -> None:
    """Give `other` the indexes of the projection's table that it has not yet.

    Each connection builds one after the other, and each index is there once it is built. Nobody
    else may be about to build any.
    """
    first = connections[0]
    async with first.transaction():
        await run(first, "settle", projection, other)
        changes = [
            change[0]
            for live, new in await _pairs(first, projection, other)
            for change in await first.fetch(SQL["indexes"], live, new)
        ]
    left = iter(changes)
    try:
        async with asyncio.TaskGroup() as building:
            for connection in connections:
                building.create_task(_execute(connection, left))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _execute(connection: Connection, left: Iterator[str]) -> None:
    for change in left:
        await connection.execute(change)


async def _pairs(connection: Connection, projection: Tabled, other: str) -> list[Any]:
    """Return the tables that belong together: the two, and their partitions."""
    return await connection.fetch(SQL["pairs"], projection.name, other)


async def forget(
    connection: Connection, projection: Tabled, table: str, stream_ids: Sequence[UUID]
) -> None:
    """Drop the rows of some streams."""
    await connection.execute(await statement(connection, "forget", projection, table), stream_ids)


async def revise(connection: Connection, projection: Tabled, row: Sequence[Any]) -> bool:
    """Put a stream's row, as it is made now, in the place of the same version's.

    False when there is none: the stream has gone on meanwhile.
    """
    text = await statement(connection, "revise", projection, projection.name)
    found: str = await connection.execute(text, *row)
    return found != "UPDATE 0"


async def digest(connection: Connection, projection: Tabled, table: str) -> Digest:
    """Return the digest of a table of the projection's shape as the connection sees it."""
    columns = projection.columns
    text = await connection.fetchval(_FORMAT, SQL["digest"], table, None, None, columns)
    row = await connection.fetchrow(text)
    assert row is not None  # noqa: S101  an aggregate always has a row
    return Digest(row["rows"], row["digest"])


async def differences(
    connection: Connection, projection: Tabled, other: str, limit: int
) -> tuple[Difference, ...]:
    """Return in what the live table differs from `other`, at most `limit` rows, by key."""
    text = await statement(connection, "differences", projection, other)
    return tuple(
        Difference(row["key"], row["kind"], tuple(row["columns"]))
        for row in await connection.fetch(text, limit)
    )


async def replace(connection: Connection, projection: Tabled, other: str) -> None:
    """Put `other` in the place of the projection's table: same names, owner, options, grants.

    In the caller's transaction, which must hold the lock.
    """
    pairs = await _pairs(connection, projection, other)
    indexes = [await connection.fetch(SQL["index_names"], live) for live, _ in pairs]
    for live, new in pairs:
        changes = await connection.fetch(SQL["settings"], live, new)
        changes += await connection.fetch(SQL["constraint_names"], new, live)
        for change in changes:
            await connection.execute(change[0])
    if projection.carry is not None:
        await connection.execute(await _formatted(connection, projection.carry, projection, other))
    await run(connection, "replace", projection, other)
    for (live, new), known in zip(pairs, indexes, strict=True):
        await connection.execute(await connection.fetchval(SQL["rename"], live, new))
        names, definitions = [row[0] for row in known], [row[1] for row in known]
        for change in await connection.fetch(SQL["rename_indexes"], live, names, definitions):
            await connection.execute(change[0])
