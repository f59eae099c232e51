"""The arithmetic of figures: medians over rounds, ratios within a round. Pure.

A ratio compares two systems measured within the same round, minutes apart at most; its median
over the rounds is steadier than the ratio of two medians, since a machine's speed drifts.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

RATES: Final = ("submit_c1", "submit_c16", "submit_bulk", "drain_1", "drain_2")
TIMES: Final = (
    "latency_p50_ms",
    "latency_p99_ms",
    "latency100_p50_ms",
    "latency100_p99_ms",
)
MEASURES: Final = (*RATES, *TIMES)
_WHOLE_FROM: Final = 100


class Figure(NamedTuple):
    """What one measure of one system came to in one round."""

    turn: int
    measure: str
    system: str
    value: float


Table = Mapping[str, Mapping[str, float]]
"""A value by measure, then by system; what was not measured is missing."""


def medians(figures: Iterable[Figure]) -> Table:
    """Return the median of each measure of each system over its rounds."""
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for figure in figures:
        found[figure.measure][figure.system].append(figure.value)
    return _median_table(found)


def ratios(figures: Iterable[Figure], ours: str) -> Table:
    """Return, by measure and other system, the median of ours / theirs in the same round."""
    taken = list(figures)
    own = {(figure.turn, figure.measure): figure.value for figure in taken if figure.system == ours}
    found: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for turn, measure, system, value in taken:
        mine = own.get((turn, measure))
        if mine is not None and system != ours and value:
            found[measure][system].append(mine / value)
    return _median_table(found)


def json_lines(table: Table) -> list[str]:
    """Return one line for each figure, in the order of MEASURES."""
    return [
        json.dumps({"measure": measure, "system": system, "value": rounded(value)})
        for measure in MEASURES
        for system, value in table.get(measure, {}).items()
    ]


def rounded(value: float) -> float:
    """Round to what the measuring is good for: whole rates, hundredths of small values."""
    return round(value) if value >= _WHOLE_FROM else round(value, 2)


def markdown(table: Table, columns: Sequence[str]) -> str:
    """Return a table with a row for each measure, a column for each system."""
    head = [["measure", *columns], ["---", *["---:"] * len(columns)]]
    rows = [
        [measure, *[_shown(table[measure].get(column)) for column in columns]]
        for measure in MEASURES
        if measure in table
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (*head, *rows))


def _shown(value: float | None) -> str:
    return "" if value is None else f"{rounded(value):,}"


def _median_table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    return {
        measure: {system: statistics.median(values) for system, values in by_system.items()}
        for measure, by_system in found.items()
    }
