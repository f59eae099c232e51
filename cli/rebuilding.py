"""Lists, rebuilds and verifies read tables, one after the other, and reports as plain records."""

from collections.abc import Sequence
from typing import Any

from reactorcide.cli.progress import Progress
from reactorcide.eventstore.database import Database
from reactorcide.migrations.schema import check_schema
from reactorcide.projections import checkpoints, rebuild, refilling, replay, verify
from reactorcide.projections.projection import REGISTRY, Projection, UnknownProjection
from reactorcide.projections.runner import FOLLOWING, SUBSCRIPTIONS
from reactorcide.projections.subscription import Subscription
from reactorcide.projections.throttle import Throttle


def chosen(name: str | None) -> Sequence[Projection | Subscription]:
    """Return the projection of this name, all for None. Raises UnknownProjection."""
    if name is None:
        return (*REGISTRY, *SUBSCRIPTIONS)
    every = {one.name: one for one in (*REGISTRY, *SUBSCRIPTIONS)}
    if name not in every:
        raise UnknownProjection(name, list(every))
    return (every[name],)


async def list_all(uri: str) -> list[dict[str, Any]]:
    """Return each projection with the events that make it, and how it stands to the log."""
    await check_schema(uri)
    connection = await Database(uri).connect()
    try:
        found = [(one, *await replay.count(connection, one)) for one in REGISTRY]
        standings = await checkpoints.standings(connection, FOLLOWING)
    finally:
        await connection.close()
    return [
        {
            "name": one.name,
            "kind": "inline",
            "stream_type": one.stream_type,
            "events": events,
            "position": position,
            "lag_events": 0,
            "lag_seconds": 0,
            "why": "written with the log",
        }
        for one, events, position in found
    ] + [
        {
            "name": one.name,
            "kind": "async",
            "stream_type": None,
            "events": sum(events for _, events, _ in found),
            "position": one.position,
            "lag_events": one.lag_events,
            "lag_seconds": round(one.lag_seconds, 3),
            "why": one.why,
        }
        for one in standings
    ]


async def rebuild_some(
    uri: str, projections: Sequence[Projection | Subscription], throttle: Throttle
) -> list[dict[str, Any]]:
    """Rebuild them; return what each rebuild did."""
    await check_schema(uri)
    reports = []
    for one in projections:
        progress = Progress(f"rebuilding {one.name}")
        try:
            made = await rebuild.rebuild(Database(uri), one, progress, throttle=throttle)
        finally:
            progress.end()
        reports.append(
            {
                "name": made.name,
                "rows": made.rows,
                "events": made.events,
                "position": made.position,
                "differed": made.differed,
                "seconds": round(made.seconds, 3),
                "digest": made.digest,
                "code_version": made.code_version,
                "was_under_way": made.was_under_way,
            }
        )
    return reports


async def verify_some(
    uri: str, projections: Sequence[Projection | Subscription]
) -> list[dict[str, Any]]:
    """Verify them; return how each compares with the log."""
    await check_schema(uri)
    reports = []
    for one in projections:
        progress = Progress(f"verifying {one.name}")
        try:
            seen = await _verified(Database(uri), one, progress)
        finally:
            progress.end()
        reports.append(
            {
                "name": seen.name,
                "rows": seen.rows,
                "events": seen.events,
                "position": seen.position,
                "is_equal": not seen.differences,
                "seconds": round(seen.seconds, 3),
                "digest": seen.digest,
                "differences": [
                    {"key": str(row.key), "kind": row.kind, "columns": list(row.columns)}
                    for row in seen.differences
                ],
            }
        )
    return reports


async def _verified(
    database: Database, one: Projection | Subscription, progress: Progress
) -> verify.Verified:
    if isinstance(one, Subscription):
        return await refilling.verify(database, one)
    return await verify.verify(database, one, progress)
