"""`reactorcide up`: start everything on this machine, and stay."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reactorcide.cli.options import database_options, read_settings
from reactorcide.cli.output import note

if TYPE_CHECKING:
    from reactorcide.cli.children import Signals
    from reactorcide.cli.settings import Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="[default: 127.0.0.1]")
@click.option("--port", metavar="N", help="[default: 6080]")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Of the worker. Repeatable.")
@click.option("--concurrency", metavar="N", help="Of the worker.")
@database_options
def up(
    queues: tuple[str, ...], concurrency: str | None, data_dir: str | None, **flags: str | None
) -> None:
    """Start the database, the schema, the API and a worker; stay until SIGTERM or SIGINT.

    Data stay in the data dir, and the next start goes on from there.
    """
    from reactorcide.cli.children import StopAsked, stop_signals

    settings = read_settings(data_dir=data_dir, **flags)
    worker_flags = [flag for queue in queues for flag in ("--queue", queue)]
    if concurrency is not None:
        worker_flags += ["--concurrency", concurrency]
    shown = "" if data_dir is None else f"REACTORCIDE_DATA_DIR={shlex.quote(data_dir)} "
    try:
        with stop_signals() as signals:
            _stay_up(settings, signals, worker_flags, f"{shown}{program()} run -- echo hello")
    except StopAsked:
        note("stopped")


def _stay_up(
    settings: "Settings", signals: "Signals", worker_flags: Sequence[str], next_command: str
) -> None:
    """Start everything and keep it running until StopAsked."""
    from reactorcide.cli.listening import bind

    with bind(settings.host, settings.port) as listening:
        # After the port: it takes half a second, and a signal may end it.
        from reactorcide.cli.stack import Plan, running_stack

        plan = Plan(settings, listening, keeps_url=True, worker_flags=worker_flags)
        with running_stack(plan, signals, note) as stack:
            click.echo(
                f"reactorcide is up at {stack.url} (its description: {stack.url}/docs)\n"
                f"  credentials  {settings.credentials_file}\n"
                f"  try next     {next_command}\n"
                f"  stop         Ctrl-C"
            )
            stack.keep(note)


def program() -> str:
    """Return what to type for this command."""
    called = Path(sys.argv[0])
    if called.name != "reactorcide":
        return f"{shlex.quote(sys.executable)} -m reactorcide.cli.main"
    found = shutil.which("reactorcide")
    is_first = found is not None and Path(found).resolve() == called.resolve()
    return "reactorcide" if is_first else shlex.quote(str(called))
