"""A real log, recorded by the rules and sealed, for tests of what is proved of it."""

from random import Random
from typing import Any, Final
from uuid import UUID

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.decider import Decider
from reactorcide.eventstore.domain.events import Event, UserDeactivated, UserRolesChanged
from reactorcide.eventstore.domain.job import JOB
from reactorcide.eventstore.domain.user import USER
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.proof.trust import Trust
from reactorcide.eventstore.signed_note import Signer
from reactorcide.projections import checkpoints, sealed_log
from reactorcide.projections.sealer import NAME, LogSealer
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore.domain.samples import REGISTERED, WAY_TO
from reactorcide.tests.projections.histories import Stream, record

KEY: Final = bytes(range(32))


async def recorded(connection: Connection, streams: int, chance: Random) -> list[UUID]:
    """Record so many histories, interleaved; return the ids of their streams."""
    ways: list[tuple[Decider[Any, Any, Any], tuple[Event, ...]]] = []
    made: list[Stream] = []
    for nth in range(streams):
        ways = [(JOB, way) for way in WAY_TO.values() if way]
        name = REGISTERED.model_copy(update={"username": f"user {new_id()}"})
        ways += [(USER, (name, UserRolesChanged(roles=("admin",)), UserDeactivated()))]
        decider, events = ways[nth % len(ways)]
        made.append(Stream(decider, new_id(), events))
    for kind in (JOB, USER):
        await record(connection, [one for one in made if one.decider is kind], chance)
    return [one.stream_id for one in made]


async def seal(database: Database, events_each: int = 10_000, key: bytes = KEY) -> None:
    """Seal all there is, so many events with each signature."""
    async with checkpoints.session(database) as session:
        assert await checkpoints.take(session, NAME)
        sealer = LogSealer(key, lambda _size, _note: None, events_each)
        while (await sealer.advance(session)).is_behind:
            pass
        await checkpoints.give_back(session, NAME)


async def trust_in(connection: Connection, key: bytes = KEY) -> Trust:
    """Return what a holder of the public key goes by."""
    return Trust((Signer(await sealed_log.origin(connection), key).verifier,))
