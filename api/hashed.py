"""Events shown in full: with the hash of their data, once the log is sealed so far.

It is looked up beside the events, by position. Where pages of the whole log are asked for that is
the larger part of the work, so it is done for who wants it.
"""

from collections.abc import Sequence
from typing import Any

from reactorcide.api.jobs.render import render_event
from reactorcide.eventstore.database import Reader
from reactorcide.eventstore.record import RecordedEvent
from reactorcide.projections import sealed_log


async def render_in_full(
    connection: Reader, events: Sequence[RecordedEvent]
) -> list[dict[str, Any]]:
    """Return events as the API shows them, with `payload_hash`: null for those not sealed yet."""
    hashes = await sealed_log.payload_hashes_of(connection, [one.position for one in events])
    return [{**render_event(one), "payload_hash": _hex(hashes.get(one.position))} for one in events]


def _hex(payload_hash: bytes | None) -> str | None:
    return None if payload_hash is None else payload_hash.hex()
