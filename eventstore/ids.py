"""New ids. Time-ordered (UUIDv7, RFC 9562), so that index pages fill from one side.

Never called inside a rule: commands carry their ids.
"""

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


def new_beginning() -> str:
    """Return what many new ids of one statement have in common; a number makes each whole."""
    return uuid7().hex[: -len(NUMBERED_FROM)]


def numbered(begin: str, number: int) -> UUID:
    """Return the id of a number from 1 on, and less than 983,040."""
    return DriverUUID(f"{begin}{int(NUMBERED_FROM, 16) + number:x}")


NUMBERED_FROM: Final = "10000"
"""What stands for number 0, in hexadecimal digits."""


def new_ids(count: int) -> list[UUID]:
    """Return so many new UUIDv7s, ascending."""
    return [DriverUUID(uuid7().bytes) for _ in range(count)]
