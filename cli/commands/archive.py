"""`reactorcide archive`: what ended long ago moves to the object store."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from reactorcide.cli.options import database_options, output_option, read_settings
from reactorcide.cli.output import show_record

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


class Before(click.ParamType[datetime]):
    """A date, an RFC 3339 time, or a duration before now; converted to the time."""

    name = "before"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time."""
        from reactorcide.cli import durations

        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            if _DATE.fullmatch(text):
                return datetime.fromisoformat(text).replace(tzinfo=UTC)
            if _DATE.match(text) and (time := datetime.fromisoformat(text)).tzinfo is not None:
                return time
            return datetime.now(UTC) - timedelta(seconds=durations.seconds_in(text))
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: a date, an RFC 3339 time, or as 30d", param, ctx)


@click.command()
@click.option(
    "--before",
    type=Before(),
    metavar="DATE|DURATION",
    help="What ended before: 2026-01-31, an RFC 3339 time, or 90d.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be moved.")
@click.option("--verify", "is_check", is_flag=True, help="Verify what is archived instead.")
@click.option("--object-store-url", metavar="URL", help="Where to; the API's.")
@output_option
@database_options
def archive(
    before: datetime | None, output: str, *, dry_run: bool, is_check: bool, **flags: str | None
) -> None:
    """Move what ended long ago from the log to the object store, with its proofs.

    Jobs, tokens, stopped workers, access reports. They leave every list, and are still shown by
    their ids. Only what is sealed is moved, and nothing that another job waits for. May be
    stopped at any time, and run again. With --verify, exit 1 when something in the archive is not
    what was sealed.
    """
    if (before is None) != is_check or (dry_run and is_check):
        message = "give --before, or --verify"
        raise click.UsageError(message)

    import asyncio

    from reactorcide.cli.archiving import archive_before, verify_archive
    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of

    settings = read_settings(**flags)
    with told(), database_of(settings) as uri:
        store_url = settings.object_store_url
        if before is None:
            work = verify_archive(uri, store_url)
        else:
            work = archive_before(uri, store_url, before, is_trial=dry_run)
        report = asyncio.run(work)
    show_record(output, report)
