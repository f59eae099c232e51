"""New ids: proper UUIDv7s, never twice, and in the order of time."""

import time
import uuid
from typing import Final
from uuid import RFC_4122, UUID

import pytest

from reactorcide.eventstore.ids import new_beginning, new_id, new_ids, numbered
from reactorcide.tests.conftest import Connection

MANY: Final = 20_000


def milliseconds_of(found: UUID) -> int:
    """Return the time that an id tells."""
    return found.int >> 80


@pytest.mark.parametrize("count", [0, 1, 7])
def test_there_are_as_many_as_were_asked_for(count: int) -> None:
    """None is none."""
    assert len(new_ids(count)) == count


def test_each_is_a_uuid_of_version_7() -> None:
    """By the standard's bits, whatever the random ones are."""
    found = [*new_ids(MANY), new_id()]
    assert {one.version for one in found} == {7}
    assert {one.variant for one in found} == {RFC_4122}


def test_no_two_are_the_same() -> None:
    """Neither of one call nor of several."""
    found = [one for _ in range(10) for one in new_ids(MANY // 10)]
    assert len(set(found)) == MANY


def test_they_tell_the_millisecond_they_were_made_in() -> None:
    """By the same clock as `new_id`, so that both kinds sort together."""
    before = time.time_ns() // 1_000_000
    found = new_ids(100)
    after = time.time_ns() // 1_000_000
    assert before <= milliseconds_of(found[0]) <= milliseconds_of(found[-1]) <= after + 1
    assert found == sorted(found)
    assert abs(milliseconds_of(new_id()) - milliseconds_of(found[0])) < 10_000


def test_those_of_a_later_millisecond_come_later() -> None:
    """All of them after all that came before, by value and as text."""
    first = new_ids(50)
    later = new_ids(50)
    while milliseconds_of(later[0]) == milliseconds_of(first[0]):
        later = new_ids(50)
    assert max(first) < min(later)
    assert max(map(str, first)) < min(map(str, later))


def test_their_random_bits_are_random() -> None:
    """Each of the last 32 is set about half of the time; a counter stands before them."""
    found = new_ids(4096)
    for bit in range(32):
        share = sum(one.int >> bit & 1 for one in found) / len(found)
        assert 0.4 < share < 0.6, f"bit {bit}"


def test_numbered_ids_are_ids_of_version_7() -> None:
    """They begin alike, ascend, and are nobody else's."""
    begin, other = new_beginning(), new_beginning()
    found = [numbered(begin, nth) for nth in (1, 2, 1000, 983_039)]
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in found)
    assert found == sorted(set(found))
    assert {one.hex[:-5] for one in found} == {begin} != {other}


async def test_the_database_takes_them_as_any_other(connection: Connection) -> None:
    """And gives back the same; they equal, and hash like, the standard library's."""
    found = new_ids(10)
    again = await connection.fetchval("SELECT $1::uuid[]", found)
    plain = [uuid.UUID(str(one)) for one in found]
    assert again == found == plain
    assert set(plain) == set(found)
    assert await connection.fetchval(
        "SELECT array_agg(id ORDER BY id) FROM unnest($1::uuid[]) id", found
    ) == sorted(plain)
