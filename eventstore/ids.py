"""New ids. Time-ordered (UUIDv7, RFC 9562), so that index pages fill from one side.

Never called inside a rule: commands carry their ids.
"""

import os
import time
from typing import Final
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811  the driver's own kind of UUID
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7; those of one operating system process ascend."""
    return uuid7()


NO_ID: Final = UUID(int=0)


def new_ids(count: int) -> list[UUID]:
    """Return so many new UUIDv7s of one moment, in no order: a third of the time each.

    They are the driver's own kind of UUID, which it makes and sends without detours.
    """
    moment = (time.time_ns() // 1_000_000).to_bytes(6, "big")
    random = os.urandom(10 * count)
    return [
        DriverUUID(
            moment
            + _VERSION[random[start]]
            + random[start + 1 : start + 2]
            + _VARIANT[random[start + 2]]
            + random[start + 3 : start + 10]
        )
        for start in range(0, 10 * count, 10)
    ]


_VERSION = tuple(bytes((0x70 | number & 0x0F,)) for number in range(256))
_VARIANT = tuple(bytes((0x80 | number & 0x3F,)) for number in range(256))
