"""A click group that imports a command's module when that command is called, not before.

Help of the group is written from the table alone: `reactorcide --help` imports nothing of ours.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """`commands_at` maps a name to `module:attribute` and its line of help."""

    def __init__(
        self, *args: Any, commands_at: Mapping[str, tuple[str, str]], **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.commands_at = commands_at

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(self.commands_at)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for a name that is not in the table."""
        if cmd_name not in self.commands_at:
            return None
        module, attribute = self.commands_at[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table's lines of help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, at[1]) for name, at in self.commands_at.items()])
