"""`reactorcide migrate`: bring the database's schema up, down, or show it."""

from typing import TYPE_CHECKING, Final

import click

from reactorcide.cli.options import database_options, output_option, read_settings
from reactorcide.cli.output import note, show_list

if TYPE_CHECKING:
    from reactorcide.migrations.schema import MigrationStatus

COLUMNS: Final = ("migration_id", "applied_at", "state")


@click.group()
def migrate() -> None:
    """Bring the database's schema up, down, or show it."""


@migrate.command()
@database_options
def up(**flags: str | None) -> None:
    """Apply what is missing. Safe from many processes at once."""
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.migrations.runner import migrate_up

    settings = read_settings(**flags)
    with told(), database_of(settings) as uri:
        applied = migrate_up(uri)
    for migration_id in applied:
        click.echo(migration_id)
    note(f"{len(applied)} migrations applied; the schema is that of this version")


@migrate.command()
@click.option("--steps", type=click.IntRange(min=1), default=1, show_default=True)
@database_options
def down(steps: int, **flags: str | None) -> None:
    """Roll back the newest migrations, with the data that they hold."""
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.migrations.runner import migrate_down

    settings = read_settings(**flags)
    with told(), database_of(settings) as uri:
        rolled_back = migrate_down(uri, steps)
    for migration_id in rolled_back:
        click.echo(migration_id)
    note(f"{len(rolled_back)} migrations rolled back")


@migrate.command()
@output_option
@database_options
def status(output: str, **flags: str | None) -> None:
    """Show which migrations are applied."""
    import asyncio

    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.migrations import schema

    settings = read_settings(**flags)
    with told(), database_of(settings) as uri:
        found = asyncio.run(schema.status(uri))
    rows = [
        {
            "migration_id": one.migration_id,
            "applied_at": one.applied_at and one.applied_at.isoformat().replace("+00:00", "Z"),
            "state": _state(one),
        }
        for one in found
    ]
    show_list(output, {"migrations": rows}, "migrations", COLUMNS)


def _state(one: "MigrationStatus") -> str:
    if not one.is_known:
        return "unknown"
    if one.applied_at is None:
        return "missing"
    return "edited" if one.is_edited else "applied"
