"""What tests of the appender hand in."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from reactorcide.eventstore.appender import Unit
from reactorcide.eventstore.handle import Change
from reactorcide.eventstore.inline_rows import InlineRows
from reactorcide.tests.eventstore.facts import an_append

APPENDERS: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'reactorcide'
"""


CHECK: Final = """, held AS (INSERT INTO worker_beats SELECT stream_id, now() FROM first, checked
    ON CONFLICT DO NOTHING)"""


class Rows:
    """Inline rows that do nothing but remember how many changes each statement had."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, changes: Sequence[Change[str]]) -> InlineRows:
        """Refuse in PostgreSQL what is called poison, and fail in Python what is a defect."""
        self.batches.append(len(changes))
        if any(change.state == "defect" for change in changes):
            raise LookupError("a defect")
        numbers = [change.state for change in changes]
        sql = ", checked AS (SELECT count(n::int) FROM unnest($17::text[]) AS n WHERE n::int >= 0)"
        return InlineRows(sql + CHECK, (numbers,))


def a_unit(stream_id: UUID, expected_version: int = 0, state: str = "1") -> Unit[str]:
    """Return one append and its change; the state says what its inline rows do."""
    change = Change(stream_id, expected_version + 1, state, ())
    return an_append(stream_id, expected_version), change
