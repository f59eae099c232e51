"""Rows written for COPY: what the driver reads again is what was written."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from reactorcide.projections import copying, table
from reactorcide.projections.copying import Encoding
from reactorcide.projections.projection import REGISTRY
from reactorcide.tests.conftest import Connection

TYPES: Final = (
    *("uuid", "integer", "boolean", "text", "text[]", "jsonb"),
    "timestamp with time zone",
)
MOMENT: Final = datetime(2026, 11, 23, 12, 34, 56, 789_012, tzinfo=UTC)
ROWS: Final[list[tuple[Any, ...]]] = [
    (UUID(int=1), 0, True, "", [], "{}", MOMENT),
    (UUID(int=2**128 - 1), -(2**31), False, "a\tb\n\\N\x01", ["", "ü"], '{"a": [1]}', MOMENT),
    (
        UUID(int=2),
        2**31 - 1,
        None,
        "日本 🚀",
        ["x", 'y"{}'],
        "null",
        datetime.min.replace(tzinfo=UTC),
    ),
    (None,) * len(TYPES),
]


async def test_every_value_is_read_again_as_it_was_written(connection: Connection) -> None:
    """Of every type that a read table has, and none of any."""
    names = [f"c{number}" for number in range(len(TYPES))]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, TYPES, strict=True))
    await connection.execute(f"CREATE TABLE written ({columns})")
    encoding = Encoding(TYPES)

    async def rows() -> Any:
        yield copying.BEGIN
        for row in ROWS:
            yield encoding.row(row)
        yield copying.END

    await connection.copy_to_table("written", source=rows(), columns=names, format="binary")
    assert [tuple(row) for row in await connection.fetch("SELECT * FROM written")] == ROWS


async def test_times_are_handed_on_as_the_server_sent_them(connection: Connection) -> None:
    """The fields in an array of times are those that the encoding makes."""
    times = [MOMENT, MOMENT + timedelta(microseconds=1), datetime(1999, 1, 1, tzinfo=UTC)]
    sent = await connection.fetchval("SELECT array_send($1::timestamptz[])", times)
    encoding = Encoding(["timestamp with time zone"])
    fields = [sent[copying.time_in(number)] for number in range(len(times))]
    assert fields == [encoding.field(0, time) for time in times]
    assert copying.times_in(sent) == times
    assert copying.count_in(sent) == len(times)


async def test_every_read_table_can_be_written(connection: Connection) -> None:
    """No column is of a type without an encoder, and the key comes first."""
    for projection in REGISTRY:
        await table.encoding(connection, projection)
        assert projection.columns[0] == projection.key
