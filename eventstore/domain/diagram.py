"""The state diagrams of the docs, drawn from the TRANSITIONS tables.

`python -m reactorcide.eventstore.domain.diagram` writes them between the markers of
docs/states.md (all) and README.md (the job's). Says nothing that the tables do not say.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from reactorcide.eventstore.domain import access_report, job, projection, token, user, worker
from reactorcide.eventstore.domain.events import Event

St = TypeVar("St", bound=StrEnum)
E = TypeVar("E", bound=Event)

BEGIN: Final = "<!-- states:begin -->"
END: Final = "<!-- states:end -->"


def render(transitions: Mapping[St, Mapping[type[E], St]]) -> str:
    """Return the table as a mermaid stateDiagram-v2.

    Events that lead the same way share an arrow. `none` is the start; a status that nothing
    leaves is an end.
    """
    arrows: dict[tuple[str, str], list[str]] = {}
    for status, row in transitions.items():
        source = "[*]" if status == "none" else str(status)
        if not row:
            arrows[source, "[*]"] = []
        for event, target in row.items():
            name = event.wire_type.partition(".")[2]
            arrows.setdefault((source, str(target)), []).append(name)
    lines = [_arrow(source, target, names) for (source, target), names in arrows.items()]
    return "\n".join(["stateDiagram-v2", *lines])


def _arrow(source: str, target: str, names: list[str]) -> str:
    label = f" : {', '.join(names)}" if names else ""
    return f"    {source} --> {target}{label}"


def job_diagram() -> str:
    """Return the job's diagram as a fenced block."""
    return _fenced(render(job.TRANSITIONS))


def all_diagrams() -> str:
    """Return the diagrams of all streams, each under a heading."""
    drawn = {
        "Job": render(job.TRANSITIONS),
        "Token": render(token.TRANSITIONS),
        "User": render(user.TRANSITIONS),
        "Worker": render(worker.TRANSITIONS),
        "Projection": render(projection.TRANSITIONS),
        "Access report": render(access_report.TRANSITIONS),
    }
    return "\n\n".join(f"## {name}\n\n{_fenced(diagram)}" for name, diagram in drawn.items())


def _fenced(diagram: str) -> str:
    return f"```mermaid\n{diagram}\n```"


def between_markers(page: str, block: str) -> str:
    """Return `page` with what stands between its markers replaced; unchanged without markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        return page
    return f"{head}{BEGIN}\n{block}\n{END}{tail}"


def pages(root: Path) -> dict[Path, str]:
    """Return what each page of the tree at `root` that holds diagrams should say."""
    blocks = {root / "docs" / "states.md": all_diagrams(), root / "README.md": job_diagram()}
    return {
        path: between_markers(path.read_text(encoding="utf-8"), block)
        for path, block in blocks.items()
    }


def main(root: Path) -> None:
    """Write the pages of the tree at `root`."""
    for path, text in pages(root).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
