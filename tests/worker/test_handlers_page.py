"""`docs/handlers.md` says what is true: its example runs, its commands are understood."""

import re
import shlex
import sys
from pathlib import Path
from typing import Final

import click
import pytest

from reactorcide.cli.main import cli
from reactorcide.eventstore.domain.job import Completed
from reactorcide.tests.worker.handler_bench import Bench
from reactorcide.worker.handlers import load

PAGE: Final = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text("utf-8")
EXAMPLE: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
COMMANDS: Final = re.findall(r"^reactorcide .*$", PAGE, re.MULTILINE)


async def test_its_example_runs(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, from a file of the name it has there."""
    (tmp_path / "mailer.py").write_text(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    handlers = load(["mailer"])
    sent = await bench.claim("mail.send", {"to": "ada@example.org"})
    assert await bench.call(sent, handlers) == Completed({"accepted": ["ada@example.org"]}, None)
    assert await bench.log(sent) == "info: sending to='ada@example.org'\n"
    built = await bench.claim("report.build", {"months": ["may", "june"]})
    assert await bench.call(built, handlers) == Completed({"months": 2}, None)
    assert (await bench.log(built)).splitlines()[1] == "info: month_done month='june' done=2"


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    """Down to the last option; none is run."""
    _, name, *words = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, words, parent=click.Context(cli))
