"""New ids. Time-ordered (UUIDv7, RFC 9562), so that index pages fill from one side.

Never called inside a rule: commands carry their ids.
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811  the driver's own kind of UUID
from uuid_utils import uuid7

NO_ID: Final = UUID(int=0)


def new_id() -> UUID:
    """Return a new UUIDv7; those of one operating system process ascend.

    It is the driver's own kind of UUID, made and sent in a third of the time.
    """
    return DriverUUID(uuid7().bytes)


def new_ids(count: int) -> list[UUID]:
    """Return so many new UUIDv7s, ascending."""
    return [DriverUUID(uuid7().bytes) for _ in range(count)]


def ids_of(texts: Iterable[str]) -> list[UUID]:
    """Return ids from their text."""
    return list(map(DriverUUID, texts))
