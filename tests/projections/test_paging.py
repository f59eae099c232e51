"""Cursors: opaque to clients, exact to us."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactorcide.projections.paging import cursor_of, key_of


@given(st.uuids())
def test_a_cursor_leads_back_to_its_key(key: UUID) -> None:
    """Every key has one cursor."""
    assert key_of(cursor_of(key)) == key


@pytest.mark.parametrize(
    "cursor", ["", "a", "AAAA", "ä" * 22, "A" * 23, "A" * 21 + "B", "A" * 22 + "==", "!" * 22]
)
def test_a_malformed_cursor_is_refused(cursor: str) -> None:
    """Also one that only decodes by the decoder's good will."""
    with pytest.raises(ValueError, match="malformed cursor"):
        key_of(cursor)
