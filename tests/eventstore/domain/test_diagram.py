"""The diagrams in the docs are the tables."""

import runpy
from pathlib import Path

import pytest

from reactorcide.eventstore.domain import diagram, job, token

ROOT = Path(__file__).parents[3]


def test_the_pages_show_the_tables() -> None:
    """`python -m reactorcide.eventstore.domain.diagram` was run after the last change."""
    for path, text in diagram.pages(ROOT).items():
        assert path.read_text(encoding="utf-8") == text


def test_the_docs_hold_all_diagrams() -> None:
    """Markers that went missing would make the comparison empty."""
    page = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    assert page.count("stateDiagram-v2") == 6


def test_a_table_is_drawn_as_it_stands() -> None:
    """Start, arrows with their events, ends."""
    assert diagram.render(token.TRANSITIONS).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> active : issued",
        "    active --> rotated : rotated",
        "    active --> revoked : revoked",
        "    rotated --> revoked : revoked",
        "    revoked --> [*]",
    ]


def test_every_row_of_the_table_is_in_the_diagram() -> None:
    """As many event names as the table has entries."""
    drawn = diagram.render(job.TRANSITIONS)
    names = sum(
        len(line.partition(" : ")[2].split(", ")) for line in drawn.splitlines() if " : " in line
    )
    assert names == sum(len(row) for row in job.TRANSITIONS.values())


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    """Twice the same is once."""
    page = f"before\n{diagram.BEGIN}\nold\n{diagram.END}\nafter\n"
    new = diagram.between_markers(page, "new")
    assert new == f"before\n{diagram.BEGIN}\nnew\n{diagram.END}\nafter\n"
    assert diagram.between_markers(new, "new") == new


def test_a_page_without_markers_stays_as_it_is() -> None:
    """Nothing is written where nobody asked for it."""
    assert diagram.between_markers("plain\n", "new") == "plain\n"


def test_the_command_writes_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, and the README gets the job's alone."""
    (tmp_path / "docs").mkdir()
    for path in (tmp_path / "docs" / "states.md", tmp_path / "README.md"):
        path.write_text(f"{diagram.BEGIN}{diagram.END}\n", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["diagram", str(tmp_path)])
    runpy.run_path(diagram.__file__, run_name="__main__")
    assert (tmp_path / "docs" / "states.md").read_text().count("stateDiagram-v2") == 6
    readme = (tmp_path / "README.md").read_text()
    assert diagram.job_diagram() in readme
    assert readme.count("stateDiagram-v2") == 1
