"""The comparison with other queues: its arithmetic, its lines, its page and its chart.

No rival is installed or run here.
"""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from reactorcide.benchmarks.peers.chart import draw
from reactorcide.benchmarks.peers.figures import (
    MEASURES,
    Figure,
    json_lines,
    markdown,
    medians,
    ratios,
)
from reactorcide.benchmarks.peers.launch import Hit, ProgramFailedError
from reactorcide.benchmarks.peers.page import Run, section
from reactorcide.benchmarks.peers.rounds import check_all_ran, drained_rate, latencies
from reactorcide.benchmarks.peers.systems import NAMES

ROOT: Final = Path(__file__).parents[2]
SVG: Final = "{http://www.w3.org/2000/svg}"

FIGURES: Final = [
    Figure(0, "drain_1", "reactorcide", 100.0),
    Figure(0, "drain_1", "floor", 200.0),
    Figure(1, "drain_1", "reactorcide", 1_000.0),
    Figure(1, "drain_1", "floor", 4_000.0),
    Figure(2, "drain_1", "reactorcide", 300.0),
    Figure(2, "latency_p50_ms", "reactorcide", 1.23456),
]


def test_a_figure_is_the_median_over_the_rounds() -> None:
    """Of those rounds that have it."""
    assert medians(FIGURES)["drain_1"] == {"reactorcide": 300.0, "floor": 2_100.0}


def test_a_ratio_is_taken_within_a_round() -> None:
    """0.5 and 0.25; the round without a floor counts for nothing."""
    assert ratios(FIGURES, "reactorcide") == {"drain_1": {"floor": 0.375}}


def test_every_figure_is_one_json_line() -> None:
    """With measure, system and value, and no more digits than the measuring is good for."""
    assert [json.loads(line) for line in json_lines(medians(FIGURES))] == [
        {"measure": "drain_1", "system": "reactorcide", "value": 300},
        {"measure": "drain_1", "system": "floor", "value": 2_100},
        {"measure": "latency_p50_ms", "system": "reactorcide", "value": 1.23},
    ]


def test_a_table_has_a_gap_where_nothing_was_measured() -> None:
    """A row for each measure, a column for each system."""
    rows = markdown(medians(FIGURES), ["reactorcide", "floor"]).splitlines()
    assert rows[2:] == ["| drain_1 | 300 | 2,100 |", "| latency_p50_ms | 1.23 |  |"]


def test_a_drain_lasts_from_the_first_handler_to_the_empty_queue() -> None:
    """Whichever worker began first."""
    hits = [Hit(0, 2_000_000_000), Hit(0, 1_000_000_000)]
    assert drained_rate(100, hits, 3_000_000_000) == 50


def test_a_drain_that_was_cut_off_counts_what_began() -> None:
    """From the first handler to the last."""
    hits = [Hit(0, second * 1_000_000_000) for second in (1, 2, 3)]
    assert drained_rate(100, hits, None) == 1


def test_latency_is_from_the_submit_to_the_handler() -> None:
    """In milliseconds: the median, and the 99th of a hundred."""
    hits = [Hit(1_000_000, 1_000_000 + number * 1_000_000) for number in range(1, 101)]
    assert latencies("latency", hits) == {"latency_p50_ms": 51, "latency_p99_ms": 100}


def test_a_worker_that_ran_nothing_has_no_figure() -> None:
    """It is a failure, not a zero; so is a queue that emptied itself."""
    with pytest.raises(ProgramFailedError, match="1 handlers began for 2 jobs"):
        check_all_ran(2, [Hit(0, 1)])
    with pytest.raises(ProgramFailedError):
        drained_rate(100, [], 1)
    with pytest.raises(ProgramFailedError):
        latencies("latency", [])


def test_the_chart_is_well_formed_and_has_every_figure() -> None:
    """A bar for each system of each measure, inside the picture; for dark pages as well."""
    table = {measure: dict.fromkeys(NAMES, 1234.5) for measure in MEASURES}
    text = draw(table, "reactorcide")
    picture = ET.fromstring(text)  # noqa: S314  our own
    bars = [bar for bar in picture.iter(f"{SVG}rect") if bar.get("class") != "card"]
    assert len(bars) == len(MEASURES) * len(NAMES)
    assert "prefers-color-scheme: dark" in text
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    for bar in bars:
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < width
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) < height


def test_the_page_has_a_place_for_it() -> None:
    """The marks stand once each, in order, and a section says on what it was measured."""
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    assert page.count("<!-- peers:begin -->") == page.count("<!-- peers:end -->") == 1
    assert page.index("<!-- peers:begin -->") < page.index("<!-- peers:end -->")
    assert "fsync on" in section(Run((), FIGURES, "fsync on"))


def test_what_is_installed_is_pinned() -> None:
    """Every Python requirement to one version; the Node ones by a lock with digests."""
    peers = ROOT / "benchmarks" / "peers"
    for file in ("requirements.txt", "requirements-node.txt"):
        lines = (peers / file).read_text("utf-8").splitlines()
        assert all("==" in line for line in lines if not line.startswith("#"))
    wanted = json.loads((peers / "package.json").read_text("utf-8"))["dependencies"]
    locked = json.loads((peers / "package-lock.json").read_text("utf-8"))["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in entry for name, entry in locked.items() if name)
