"""`reactorcide projections`: run, list, rebuild and verify the read tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from reactorcide.cli import exits
from reactorcide.cli.early_signals import end_on_signals
from reactorcide.cli.options import database_options, output_option, read_settings
from reactorcide.cli.output import note, show_list

COLUMNS: Final = (
    "name",
    "kind",
    "stream_type",
    "events",
    "position",
    "lag_events",
    "lag_seconds",
    "why",
)
REBUILT_COLUMNS: Final = ("name", "rows", "events", "position", "differed", "seconds", "digest")
VERIFIED_COLUMNS: Final = ("name", "rows", "events", "position", "is_equal", "seconds", "digest")


@click.group()
def projections() -> None:
    """Run, list, rebuild and verify the read tables, all of which are folds of the log."""


@projections.command("run")
@click.option(
    "--new-log-key", is_flag=True, help="Seal with this key, though another one signed so far."
)
@database_options
def run_projections(*, new_log_key: bool, **flags: str | None) -> None:
    """Follow the log with the asynchronous ones, and seal it, until a signal; then exit 0.

    One runner of each is at work; all others, here and in each API process, stand by.
    """
    settings = read_settings(**flags)

    end_on_signals()

    import uvloop

    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of, log_key_of
    from reactorcide.cli.logging import configure_logging
    from reactorcide.cli.projecting import project_until_stopped

    configure_logging(settings)
    with told(), database_of(settings) as uri:
        key, store = log_key_of(settings), settings.object_store_url
        uvloop.run(project_until_stopped(uri, key, store, is_key_new=new_log_key))


@projections.command("list")
@output_option
@database_options
def list_projections(output: str, **flags: str | None) -> None:
    """List them: what makes each, how far behind the log it is, and why."""
    from reactorcide.cli import rebuilding

    _show(output, _with_database(flags, rebuilding.list_all), COLUMNS)


@projections.command()
@click.argument("name", required=False)
@click.option("--all", "is_all", is_flag=True, help="All of them, one after the other.")
@click.option(
    "--throttle",
    metavar="RATE",
    help="Fold at most so many events a second; below 1: work for this share of the time.",
)
@output_option
@database_options
def rebuild(
    name: str | None, output: str, *, is_all: bool, throttle: str | None, **flags: str | None
) -> None:
    """Make the table of NAME anew from the log, while everybody goes on working.

    It is folded beside the live one, compared with it, and put in its place in one transaction,
    which records the event projection.rebuilt. One that was killed is gone on with.
    """
    from reactorcide.cli import rebuilding

    if (name is None) != is_all:
        message = "give the name of one, or --all"
        raise click.UsageError(message)
    pace = _throttle(throttle)

    async def work(uri: str, chosen: Any) -> Any:
        return await rebuilding.rebuild_some(uri, chosen, pace)

    _show(output, _with_database(flags, work, name), REBUILT_COLUMNS)


@projections.command()
@click.argument("name", required=False)
@output_option
@database_options
def verify(name: str | None, output: str, **flags: str | None) -> None:
    """Compare the table of NAME, or all of them, with the log; exit 1 when one differs.

    Both are read as of one moment, and nobody waits for it. The first hundred keys that differ
    are named, with their columns.
    """
    from reactorcide.cli import rebuilding

    reports = _with_database(flags, rebuilding.verify_some, name)
    _show(output, reports, VERIFIED_COLUMNS)
    for report in reports:
        for difference in report["differences"]:
            columns = ", ".join(difference["columns"])
            note(f"{report['name']} {difference['key']}: {difference['kind']} {columns}".rstrip())
    if not all(report["is_equal"] for report in reports):
        exits.end_with(exits.UNEQUAL)


def _throttle(text: str | None) -> Any:
    """Read the option. Raises UsageError."""
    from reactorcide.projections.throttle import UNTHROTTLED, Throttle

    if text is None:
        return UNTHROTTLED
    try:
        return Throttle.of(text)
    except ValueError:
        message = f"--throttle {text}: events per second (5000), or a share of the time (0.25)"
        raise click.UsageError(message) from None


def _with_database(flags: Mapping[str, str | None], work: Any, *names: str | None) -> Any:
    """Do some of `rebuilding`'s work; `names` holds None or a name where it is about some."""
    import asyncio

    from reactorcide.cli import rebuilding
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of

    settings = read_settings(**flags)
    with told():
        about = [rebuilding.chosen(name) for name in names]
        with database_of(settings) as uri:
            return asyncio.run(work(uri, *about))


def _show(output: str, records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    envelope = {
        "projections": records,
        "total": len(records),
        "limit": len(records),
        "offset": 0,
        "next_cursor": None,
    }
    show_list(output, envelope, "projections", columns)
