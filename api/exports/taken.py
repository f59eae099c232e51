"""What somebody takes of the trail as a file, told to the log: once for each file, when it ends.

Also when it breaks off, whoever breaks it off. What the file has in it is none of its business.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from reactorcide.api.accesses import Accesses
from reactorcide.api.exports.asked import ExportQuery
from reactorcide.eventstore.domain.events import AccessExported
from reactorcide.eventstore.record import Context
from reactorcide.projections.audit_exports import Span


class Piece(NamedTuple):
    """Some whole records."""

    content: bytes
    positions: tuple[int, ...]


class Asked(NamedTuple):
    """Who takes what along."""

    context: Context
    operation: str
    query: ExportQuery
    span: Span


@dataclass(slots=True)
class Taken:
    """A file on its way out."""

    asked: Asked
    accesses: Accesses
    first_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    events: int = 0
    last_position: int | None = None
    is_told: bool = False

    async def told(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
        """Yield what the file has in it; it ends when the log knows of it, if that can be soon."""
        async for piece in pieces:
            self._hand_out(piece.positions)
            yield piece.content
        self.is_told = True
        await self.accesses.record_export(self._event(is_whole=True), self.asked.context)

    def end(self) -> None:
        """Tell the log that the file broke off, unless it came to its end."""
        if not self.is_told:
            self.is_told = True
            self.accesses.note_export(self._event(is_whole=False), self.asked.context)

    def _hand_out(self, positions: Iterable[int]) -> None:
        for position in positions:
            self.events += 1
            self.last_position = position

    def _event(self, *, is_whole: bool) -> AccessExported:
        query, span = self.asked.query, self.asked.span
        return AccessExported(
            count=1,
            first_at=self.first_at,
            last_at=max(datetime.now(UTC), self.first_at),  # a clock may be set back
            operations=(self.asked.operation,),
            format=query.format,
            filters={name: str(value) for name, value in query.filters().items()},
            after=span.after,
            to=span.to,
            events=self.events,
            last_position=self.last_position,
            is_whole=is_whole,
        )


class FileResponse(StreamingResponse):
    """The answer that a file goes out with; the log is told how that ended."""

    def __init__(
        self, content: AsyncIterator[bytes], taken: Taken, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(content, headers=headers, media_type=media_type)
        self._taken = taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; a client that goes away, and a server that stops, end up here too."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._taken.end()
