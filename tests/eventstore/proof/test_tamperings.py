"""Whatever is changed in a sealed log is found, and the first wrong position is named.

`make tamper` tries ten thousand; the suite a sample of them.
"""

import os
from collections import Counter
from random import Random
from typing import Final

import pytest

from reactorcide.tests.eventstore.proof.logs import Log, seal, some_events, verified
from reactorcide.tests.eventstore.proof.tamperings import TAMPERINGS

NUMBER: Final = int(os.environ.get("REACTORCIDE_TAMPERINGS", "240"))
SEED: Final = int(os.environ.get("REACTORCIDE_SEED", "20"))
_LOGS: Final = 10


@pytest.fixture(scope="module")
def logs() -> list[Log]:
    """Logs of several tiles, with checkpoints anywhere and a few events that are not sealed."""
    made = []
    for nth in range(_LOGS):
        chance = Random(f"{SEED} {nth}")  # noqa: S311  it must come again
        events = some_events(chance.choice((270, 300, 530)), chance)
        sealed = len(events) - chance.choice((0, 7))
        sizes = sorted({*chance.sample(range(1, sealed), chance.randint(1, 8)), sealed})
        made.append(seal(events, sizes))
    return made


def test_what_is_as_it_was_sealed_is_right(logs: list[Log]) -> None:
    """None of the logs has anything wrong before it is tampered with."""
    assert [verified(log) for log in logs] == [None] * _LOGS


def test_every_tampering_is_found_at_its_position(logs: list[Log]) -> None:
    """Each way in turn, each time with other choices."""
    found: Counter[str] = Counter()
    for nth in range(NUMBER):
        chance = Random(f"{SEED} {nth}")  # noqa: S311  it must come again
        tamper = TAMPERINGS[nth % len(TAMPERINGS)]
        tampered = tamper(chance.choice(logs).copy(), chance)
        finding = verified(tampered.log, tampered.trust)
        case = nth, tamper.__name__, finding, tampered.first, tampered.last
        assert finding is not None, case
        assert tampered.first <= finding.position <= tampered.last, case
        assert finding.kind in tampered.kinds, case
        if finding.until is not None:
            assert finding.until >= tampered.last, case
        found[finding.kind] += 1
    assert found.total() == NUMBER
