"""Facts for tests of the log, which does not care what they mean."""

from uuid import UUID

from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.record import SYSTEM, Append, Context, NewEvent


def a_fact(data: str = "{}", wire_type: str = "test.happened") -> NewEvent:
    """Return a new event of no known type."""
    return NewEvent(new_id(), wire_type, 1, data)


def an_append(
    stream_id: UUID, expected_version: int, count: int = 1, context: Context = SYSTEM
) -> Append:
    """Return an append of `count` facts, numbered in their data by their versions."""
    facts = tuple(a_fact(f'{{"n": {expected_version + nth}}}') for nth in range(1, count + 1))
    return Append("job", stream_id, expected_version, facts, context)
