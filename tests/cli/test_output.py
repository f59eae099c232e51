"""How records are shown: on a terminal, piped, as JSON, as YAML."""

import json
import os
import pty
import subprocess
import sys
from typing import Any, Final

import pytest
import yaml

from reactorcide.cli.output import cell, show_list, show_record, visible

JOBS: Final[dict[str, Any]] = {
    "jobs": [
        {"job_id": "1", "name": "tab\there", "exit_code": None, "labels": {"a": "b"}},
        {"job_id": "2", "name": "\x1b[31mred\x07", "exit_code": 0, "labels": {}},
    ],
    "total": 2,
    "limit": 50,
    "offset": 0,
    "next_cursor": None,
}
COLUMNS: Final = ("job_id", "name", "exit_code", "labels")


def test_a_piped_list_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a record, no heading, and no tab or control character inside of a cell."""
    show_list("table", JOBS, "jobs", COLUMNS)
    assert capsys.readouterr().out == (
        '1\ttab\\there\t\t{"a": "b"}\n2\t\\u001b[31mred\\u0007\t0\t\n'
    )


def test_json_has_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is left out of it."""
    show_list("json", JOBS, "jobs", COLUMNS)
    assert json.loads(capsys.readouterr().out) == JOBS


def test_yaml_has_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    """The same document."""
    show_list("yaml", JOBS, "jobs", COLUMNS)
    assert yaml.safe_load(capsys.readouterr().out) == JOBS


def test_a_record_is_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Name and value, one field a line."""
    show_record("table", {"name": "x", "is_active": True, "scopes": ["a", "b"], "none": None})
    assert capsys.readouterr().out == "name\tx\nis_active\ttrue\nscopes\ta, b\nnone\t\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (False, "false"), (1.5, "1.5"), ([], ""), ({}, "")]
)
def test_a_cell_is_one_line(value: object, shown: str) -> None:
    """Nothing is an empty cell."""
    assert cell(value) == shown


def test_text_from_elsewhere_cannot_steer_a_terminal() -> None:
    """Escape sequences, bells and line breaks come out as letters."""
    assert visible("a\nb\x9b\u202e") == "a\\nb\\u009b\\u202e"


def test_a_terminal_gets_a_table_with_headings() -> None:
    """Aligned, with the ids whole."""
    code = (
        "from reactorcide.cli.output import show_list\n"
        "show_list('table', {'jobs': [{'job_id': '0' * 36, 'name': '[b]' + 'n' * 200}]},"
        " 'jobs', ('job_id', 'name'))"
    )
    parent, child = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "60"}
    subprocess.run(
        [sys.executable, "-c", code], stdout=child, env=environment, timeout=30, check=True
    )
    os.close(child)
    shown = os.read(parent, 65_536).decode()
    os.close(parent)
    assert "JOB ID" in shown
    assert "0" * 36 in shown
    assert "[b]" in shown
