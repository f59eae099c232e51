"""Records artifacts for workers that may open the database; see ArtifactDoor."""

from collections.abc import Sequence
from uuid import UUID

from reactorcide.eventstore.database import Pool, database_errors
from reactorcide.eventstore.domain.errors import NotLeaseHolder
from reactorcide.eventstore.objects import AnotherStore, ObjectStore
from reactorcide.projections import artifacts, shared_store
from reactorcide.worker.coordinator import Artifact, AttemptKey, Kept
from reactorcide.worker.direct_errors import our_errors


class ArtifactRecords:
    """The artifacts door on PostgreSQL."""

    def __init__(self, connection: Pool, objects: ObjectStore) -> None:
        self._connection = connection
        self._objects = objects
        self._identity: UUID | None = None

    async def begin(self, key: AttemptKey) -> Kept:
        """Note that objects will be put; see that they are put where the API finds them."""
        with our_errors(), database_errors():
            await self._check_store()
            kept = await artifacts.begin(self._connection, *key)
        if kept is None:
            raise NotLeaseHolder(key.attempt, key.attempt, "no longer held")
        return Kept(*kept)

    async def add(self, key: AttemptKey, files: Sequence[Artifact]) -> None:
        """Record what was put."""
        rows = [artifacts.Artifact(*artifact) for artifact in files]
        with our_errors(), database_errors():
            is_added = await artifacts.add(self._connection, *key, rows)
        if not is_added:
            raise NotLeaseHolder(key.attempt, key.attempt, "no longer held")

    async def _check_store(self) -> None:
        if not self._objects.is_lasting:
            return
        if self._identity is None:
            self._identity = await self._objects.identity()
        if not await shared_store.join(self._connection, self._identity):
            detail = (
                f"{self._objects.url} is not the object store that the API reads: "
                "REACTORCIDE_OBJECT_STORE_URL must name the same one for all"
            )
            raise AnotherStore(detail)
