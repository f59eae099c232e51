"""What the tests of artifacts share: smaller limits, and a look at what a job has left."""

from typing import Any
from uuid import UUID

from reactorcide.projections import artifacts
from reactorcide.tests.worker.jobs_at_work import (
    Desk,
)
from reactorcide.worker.settings import ArtifactLimits, WorkerSettings

CD = 'cd "$REACTORCIDE_ARTIFACTS_DIR"; '


def small(settings: WorkerSettings, **limits: int) -> WorkerSettings:
    """Return settings with smaller limits."""
    changed: dict[str, Any] = {"artifact_limits": ArtifactLimits(**limits)}
    return WorkerSettings(
        settings.name,
        settings.workspace_root,
        grace_seconds=1.0,
        object_store_url=settings.object_store_url,
        **changed,
    )


async def left_by(desk: Desk, job_id: UUID, attempt: int | None = None) -> dict[str, int]:
    """Return the paths and sizes that a job has left."""
    found = await artifacts.list_of(desk.pool, job_id, attempt)
    return {artifact.path: artifact.size for artifact in found}
