"""How lists are paged: by key, newest first. Knows no table."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

ROWS_COUNTED: Final = 10_000
"""A list's `total` is exact while its scope holds no more rows than this, else None."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list: `limit` rows after `offset`, of those older than `before`."""

    limit: int = 50
    offset: int = 0
    before: UUID | None = None
    """An id, from `Listed.next_before`; None starts at the newest."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page of a list, newest first."""

    rows: tuple[T, ...]
    total: int | None
    """How many rows pass the filter on all pages; None when counting is not cheap."""
    next_before: UUID | None
    """What `Page.before` must be for the next page; None after the last one."""


def listed(rows: list[T], ids: list[UUID], page: Page, total: int | None) -> Listed[T]:
    """Return the page, given one row more than its limit where there is one."""
    is_last = len(rows) <= page.limit
    next_before = None if is_last else ids[page.limit - 1]
    return Listed(tuple(rows[: page.limit]), total, next_before)


def cursor_of(before: UUID) -> str:
    """Return the opaque text of a key."""
    return base64.urlsafe_b64encode(before.bytes).rstrip(b"=").decode()


def key_of(cursor: str) -> UUID:
    """Return the key of an opaque text. Raises ValueError when it is none of ours."""
    try:
        key = UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        key = None
    if key is None or cursor_of(key) != cursor:
        msg = "malformed cursor"
        raise ValueError(msg)
    return key
