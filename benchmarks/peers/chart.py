"""Draws figures as bars in one SVG, readable on light and on dark pages. Pure; no library.

A panel for each measure, a bar for each system, each panel on its own scale: systems compare
within a panel, panels do not compare.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from reactorcide.benchmarks.peers.figures import MEASURES, Table, rounded

_TITLES: Final = {
    "submit_c1": "submit, 1 caller",
    "submit_c16": "submit, 16 callers",
    "submit_bulk": "submit, 1,000 a call",
    "drain_1": "run no-ops, 1 worker",
    "drain_2": "run no-ops, 2 workers",
    "latency_p50_ms": "submit to start, median",
    "latency_p99_ms": "submit to start, p99",
    "latency100_p50_ms": "at 100 jobs/s, median",
    "latency100_p99_ms": "at 100 jobs/s, p99",
}
_COLUMNS: Final = 3
_PANEL_WIDTH: Final = 270
_NAME_WIDTH: Final = 88
_BAR_WIDTH: Final = 112
_ROW: Final = 19
_HEAD: Final = 34
_GAP: Final = 14
_MARGIN: Final = 16

_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .unit { fill: #59636e } .value { font-size: 11px }
.card { fill: #ffffff; stroke: #d1d9e0 }
.bar { fill: #afb8c1 } .ours { fill: #0969da } .floor { fill: none; stroke: #818b98 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .unit { fill: #9198a1 } .card { fill: #0d1117; stroke: #3d444d }
  .bar { fill: #57606a } .ours { fill: #4493f8 } .floor { stroke: #9198a1 }
}
"""


class _Place(NamedTuple):
    """The upper left corner of a panel."""

    x: int
    y: int


def draw(table: Table, ours: str, floor: str = "floor") -> str:
    """Return the SVG of all measures in the table; `ours` stands out, `floor` is an outline."""
    shown = [measure for measure in MEASURES if measure in table]
    rows = max((len(table[measure]) for measure in shown), default=0)
    panel_height = _HEAD + rows * _ROW + _GAP
    lines = -(-len(shown) // _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * _PANEL_WIDTH
    height = 2 * _MARGIN + lines * panel_height - _GAP
    kinds = {ours: "ours", floor: "floor"}
    panels = [
        _panel(measure, table[measure], kinds, _place(number, panel_height))
        for number, measure in enumerate(shown)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(ours)} and its peers">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>\n'
        f"{''.join(panels)}</svg>\n"
    )


def _place(number: int, panel_height: int) -> _Place:
    line, column = divmod(number, _COLUMNS)
    return _Place(_MARGIN + column * _PANEL_WIDTH, _MARGIN + line * panel_height)


def _panel(measure: str, row: Mapping[str, float], kinds: Mapping[str, str], at: _Place) -> str:
    unit = "ms, less is better" if measure.endswith("_ms") else "jobs/s"
    most = max(row.values(), default=0) or 1
    bars = [
        _bar(system, value, value / most, kinds.get(system, "bar"), _Place(at.x, y))
        for system, value, y in zip(
            row,
            row.values(),
            range(at.y + _HEAD, at.y + _HEAD + len(row) * _ROW, _ROW),
            strict=True,
        )
    ]
    return (
        f'<text x="{at.x}" y="{at.y + 16}"><tspan class="title">{escape(_TITLES[measure])}</tspan>'
        f'<tspan class="unit" dx="6">{unit}</tspan></text>\n{"".join(bars)}'
    )


def _bar(system: str, value: float, share: float, kind: str, at: _Place) -> str:
    width = max(1.0, share * _BAR_WIDTH)
    start = at.x + _NAME_WIDTH
    return (
        f'<text x="{at.x}" y="{at.y + 10}">{escape(system)}</text>'
        f'<rect class="{kind}" x="{start}" y="{at.y}" width="{width:.1f}" height="12" rx="1"/>'
        f'<text class="value" x="{start + width + 5:.1f}" y="{at.y + 10}">'
        f"{rounded(value):,}</text>\n"
    )
