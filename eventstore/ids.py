"""New ids. Time-ordered (UUIDv7, RFC 9562), so that index pages fill from one side.

Never called inside a rule: commands carry their ids.
"""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7; those of one operating system process ascend."""
    return uuid7()
