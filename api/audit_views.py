"""What the audit operations answer with, as the OpenAPI document has it; see `api.views`."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import Field

from reactorcide.api.views import EventView, FullEventView, ListView, View

ARCHIVED_UNTIL: Final[Any] = Field(
    description="Events recorded up to then may be missing: their streams are archived, and only "
    "`stream_id` finds them. Null: nothing that was asked for can be"
)


class AuditListView(ListView):
    """A page of events of all streams, newest first; those with `hashes` are shown in full."""

    events: list[FullEventView | EventView]
    archived_until: datetime | None = ARCHIVED_UNTIL


class CheckpointView(View):
    """The root over the first leaves of the log, signed."""

    tree_size: int
    root: str = Field(description="Base64")
    last_position: int = Field(description="Of the last leaf's event")
    note: str = Field(description="C2SP tlog-checkpoint, as a signed note")
    signed_at: datetime


class SealedView(CheckpointView):
    """The newest checkpoint, when all that was committed is sealed."""

    verifier_key: str | None = Field(description="`name+hash+key`, as other tools take it")


class CheckpointListView(ListView):
    """A page of signed checkpoints, the largest tree first."""

    checkpoints: list[CheckpointView]
    verifier_key: str | None = Field(description="`name+hash+key`, as other tools take it")


class ProofView(View):
    """An inclusion proof (RFC 6962, 2.1.1). Hashes are SHA-256 in base64."""

    position: int
    leaf_index: int
    leaf_hash: str = Field(description="SHA-256 of a zero byte and the entry")
    entry: str | None = Field(
        description="The event's envelope with the hash of its data, as canonical JSON; null when "
        "the event is not in the log's table any more"
    )
    tree_size: int
    root: str
    proof: list[str] = Field(description="From the leaf upwards")
    checkpoint: str | None = Field(description="Of this tree size; null when none was signed")


class ConsistencyView(View):
    """A consistency proof (RFC 6962, 2.1.2). Hashes are SHA-256 in base64."""

    first: int
    second: int
    proof: list[str]
    first_checkpoint: str | None = Field(description="Null when none of this size was signed")
    second_checkpoint: str | None = Field(description="Null when none of this size was signed")


class TreeEventView(EventView):
    """An event, and the one that it follows from."""

    caused_by: UUID | None
    """The event above it in this answer; null for what the request began with."""
    depth: int


class RequestTreeView(View):
    """What a request led to, each event right behind what it follows from.

    `is_cut`: so much follows that the rest was left out.
    """

    request_id: str
    events: list[TreeEventView]
    limit: int
    next_cursor: str | None
    is_cut: bool
    archived_until: datetime | None = ARCHIVED_UNTIL
