"""Writes what a run measured into docs/: the tables between their marks, the chart beside."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from reactorcide.benchmarks.peers.chart import draw
from reactorcide.benchmarks.peers.figures import Figure, markdown, medians, ratios
from reactorcide.benchmarks.peers.systems import OURS, System

_DOCS: Final = Path(__file__).parents[2] / "docs"
_BEGIN: Final = "<!-- peers:begin -->"
_END: Final = "<!-- peers:end -->"


class Run(NamedTuple):
    """What one run measured, and on what."""

    systems: Sequence[System]
    figures: Sequence[Figure]
    settings: str


def write(run: Run) -> None:
    """Replace what stands between the marks of the page, and the chart."""
    page = _DOCS / "performance.md"
    head, rest = page.read_text("utf-8").split(_BEGIN)
    tail = rest.split(_END)[1]
    page.write_text(f"{head}{_BEGIN}\n\n{section(run)}\n{_END}{tail}", "utf-8")
    (_DOCS / "peers.svg").write_text(draw(medians(run.figures), OURS), "utf-8")


def section(run: Run) -> str:
    """Return the tables as Markdown."""
    names = [system.name for system in run.systems]
    others = [name for name in names if name != OURS]
    turns = len({figure.turn for figure in run.figures})
    settings = "\n".join(f"- {system.name}: {system.settings}" for system in run.systems)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"""`make bench-peers`, {day}, medians of interleaved rounds: {turns}.
On {run.settings}.

![The figures as bars](peers.svg)

{markdown(medians(run.figures), names)}

{OURS} divided by each of the others, the median of the rounds' ratios; more is better for rates,
less for milliseconds:

{markdown(ratios(run.figures, OURS), others)}

{settings}
"""
