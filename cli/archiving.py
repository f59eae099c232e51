"""Archives what ended before a time, with progress, and reports as a plain record."""

from datetime import datetime
from typing import Any

from reactorcide.cli import exits
from reactorcide.cli.exits import Stop
from reactorcide.cli.progress import Progress
from reactorcide.eventstore.archived import NotAsSealed
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.objects import ObjectStore, ObjectStoreError
from reactorcide.migrations.schema import check_schema
from reactorcide.projections import archive_check, archiving
from reactorcide.projections.archive_check import ArchiveBroken
from reactorcide.projections.archiving import Archived, OtherStore, StreamsBusy


async def archive_before(
    uri: str, store_url: str, before: datetime, *, is_trial: bool
) -> dict[str, Any]:
    """Archive, or count what would be; return what was done."""
    await check_schema(uri)
    progress = Progress("archiving streams")
    try:
        if is_trial:
            found = await archiving.count(Database(uri), before)
        else:
            store = ObjectStore(store_url)
            found = await archiving.archive(Database(uri), store, before, progress)
    except (ObjectStoreError, StreamsBusy) as error:
        raise Stop(exits.UNAVAILABLE, str(error)) from None
    except OtherStore as error:
        raise Stop(exits.USAGE, str(error), "set REACTORCIDE_OBJECT_STORE_URL") from None
    except NotAsSealed as error:
        raise Stop(exits.UNEQUAL, str(error), "see `reactorcide audit verify`") from None
    finally:
        progress.end()
    return _report(found, before, is_trial=is_trial)


async def verify_archive(uri: str, store_url: str) -> dict[str, Any]:
    """Verify all that was archived; return what was found to be as it was."""
    await check_schema(uri)
    progress = Progress("verifying archive objects")
    try:
        found = await archive_check.check(Database(uri), ObjectStore(store_url), progress)
    except ObjectStoreError as error:
        raise Stop(exits.UNAVAILABLE, str(error)) from None
    except ArchiveBroken as error:
        raise Stop(exits.UNEQUAL, str(error)) from None
    finally:
        progress.end()
    return {"objects": found.objects, "events": found.events}


def _report(found: Archived, before: datetime, *, is_trial: bool) -> dict[str, Any]:
    report: dict[str, Any] = {
        "before": before.isoformat(),
        "is_dry_run": is_trial,
        "streams": found.streams,
        "events": found.events,
    }
    if not is_trial:
        report |= {"objects": found.objects, "bytes": found.bytes, "left": found.left}
    return report
