"""The README says what is true: its commands exist, its settings are read, it is short."""

import re
import shlex
from pathlib import Path
from typing import Final

import click
import pytest

from reactorcide.cli.main import cli

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
BLOCKS: Final = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES: Final = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS: Final = [line for line in LINES if line.startswith("reactorcide ")]
TARGETS: Final = sorted(
    set(re.findall(r"^(?:\S+=\S+ )?make ([\w-]+)", "\n".join(LINES), re.MULTILINE))
)


def _words(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


def test_it_is_short() -> None:
    """At most 200 lines: it is read, not searched."""
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    """Each is parsed by the real command, down to the last option; none is run."""
    command: click.Command = cli
    context = click.Context(cli)
    words = _words(line)
    while isinstance(command, click.Group):
        name, words = words[0], words[1:]
        found = command.get_command(context, name)
        assert found is not None, name
        command, context = found, click.Context(found, parent=context)
    command.make_context(command.name, words, parent=context.parent)


@pytest.mark.parametrize("target", TARGETS)
def test_its_make_targets_exist(target: str) -> None:
    """As rules of the Makefile."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_it_names_every_setting() -> None:
    """What the programs read from the environment stands in the table, and nothing else."""
    settings = (ROOT / "cli" / "settings.py").read_text("utf-8")
    read = {f"REACTORCIDE_{name}" for name in re.findall(r'read\(\s*"([A-Z_]+)"', settings)}
    table = set(re.findall(r"REACTORCIDE_[A-Z_]+", README[: README.index("## The house")]))
    assert read == table


def test_its_links_lead_somewhere() -> None:
    """Every relative link is a file of the repository."""
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in link or (ROOT / link).exists(), link
