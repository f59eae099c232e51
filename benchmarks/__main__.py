"""Run measurements, one after the other: `python -m reactorcide.benchmarks [NAME ...]`.

Without names all run but `pressure`, which takes an hour. Each runs in an interpreter of its own
and prints one JSON line; they are passed through and, with `--write`, become the tables of
docs/performance.md. BENCH_ROUNDS and BENCH_SECONDS make a run shorter or longer, BENCH_DB_URI
takes a server that is there.
"""

import json
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

MEASUREMENTS: Final = (
    "append",
    "submit_http",
    "claim_finish",
    "pickup",
    "stream",
    "commands",
    "first_line",
    "rebuild",
    "past",
    "export",
    "audit",
    "memory",
    "scale",
    "wal",
    "pressure",
)
_LONG: Final = frozenset({"pressure"})
_PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
_INTERRUPTED: Final = 130
_BEGIN: Final = "<!-- figures:begin -->"
_END: Final = "<!-- figures:end -->"


def main(arguments: Sequence[str]) -> int:
    """Run the named measurements, or all that are short; 1 when one failed."""
    named = [word for word in arguments if not word.startswith("-")]
    wanted = named or [name for name in MEASUREMENTS if name not in _LONG]
    unknown = sorted(set(wanted) - set(MEASUREMENTS))
    if unknown:
        sys.stderr.write(f"no such measurement: {', '.join(unknown)}; there are: ")
        sys.stderr.write(f"{', '.join(MEASUREMENTS)}\n")
        return 2
    # Ended by either signal, it ends the measurement under way, which ends what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        figures = {name: _measured(name) for name in wanted}
    except KeyboardInterrupt:
        return _INTERRUPTED
    if "--write" in arguments:
        _write({name: found for name, found in figures.items() if found is not None})
    return int(any(found is None for found in figures.values()))


def _measured(name: str) -> dict[str, Any] | None:
    """Run one measurement, pass its line through and return it; None when it failed."""
    words = [sys.executable, "-m", f"reactorcide.benchmarks.{name}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as started:  # noqa: S603 -- our own module
        try:
            said, _ = started.communicate()
        except KeyboardInterrupt:
            started.terminate()
            started.wait()  # leaving the block would not
            raise
    sys.stdout.write(said)
    sys.stdout.flush()
    if started.returncode != 0:
        return None
    figures: dict[str, Any] = json.loads(said.splitlines()[-1])
    return figures


def _write(figures: dict[str, dict[str, Any]]) -> None:
    """Replace the figures between the marks of the page; measurements not run keep theirs."""
    page = _PAGE.read_text("utf-8")
    head, rest = page.split(_BEGIN)
    old, tail = rest.split(_END)
    sections = {part.split("\n", 1)[0]: part for part in old.split("### ")[1:]}
    sections |= {name: _section(name, found) for name, found in figures.items()}
    ordered = [sections[name] for name in MEASUREMENTS if name in sections]
    body = "".join(f"### {section.rstrip()}\n\n" for section in ordered)
    _PAGE.write_text(f"{head}{_BEGIN}\n\n{body}{_END}{tail}", "utf-8")


def _section(name: str, found: dict[str, Any]) -> str:
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    made = f"`python -m reactorcide.benchmarks {name}`, {day}, Python {platform.python_version()}"
    cases = found["cases"]
    columns = list(dict.fromkeys(column for case in cases for column in case))
    table = [columns, ["---"] * len(columns)]
    table += [[_shown(case.get(column)) for column in columns] for case in cases]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"{name}\n\n{made}, {found['unit']}\n\n{rows}\n"


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case float() if value == int(value) and abs(value) >= 100:  # noqa: PLR2004 -- a whole rate
            return f"{int(value):,}"
        case int() | float():
            return f"{value:,}"
        case _:
            return str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
