"""Rebuilds killed with -9 at random points, while others write: the next one ends equal.

    python -m reactorcide.benchmarks.rebuild_kills --events 200000 --kills 20 --seed 1

Inline and asynchronous projections in turn. Exit 1 if a table differs in the end, if anything of
a rebuild is left, or if none was gone on with.
"""

import argparse
import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Final

from reactorcide.api.direct import Submitter
from reactorcide.benchmarks.ending import run_to_end
from reactorcide.benchmarks.harness import server
from reactorcide.benchmarks.history import fill
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.doorbell import Doorbell
from reactorcide.eventstore.ids import new_id
from reactorcide.projections import audit_events, refilling, verify
from reactorcide.projections.checkpoints import standings
from reactorcide.projections.projection import Projection, named
from reactorcide.projections.rebuild import RebuildUnderWay, Rebuilt, rebuild
from reactorcide.projections.runner import Runner
from reactorcide.projections.subscription import Subscription

_EVENTS_EACH: Final = 10_000
"""So that several programs fold, and there are many slices to be killed in."""
_PROGRAM: Final = """
import asyncio, json, sys
order = json.loads(sys.stdin.readline())
sys.path[:] = order["path"]
from reactorcide.benchmarks.rebuild_kills import projections
from reactorcide.eventstore.database import Database
from reactorcide.projections.rebuild import rebuild
print("ready", flush=True)
asyncio.run(rebuild(
    Database(order["uri"]), projections()[order["name"]], lambda *_: None, order["events_each"]
))"""
_GONE_SECONDS: Final = 60.0
_LEFT: Final = """
SELECT relname::text FROM pg_class WHERE relname LIKE '%\\_rebuild%'
UNION SELECT name FROM rebuilds"""


@dataclass(frozen=True, slots=True)
class Battery:
    """How much of it."""

    events: int
    kills: int
    seed: int


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    kills: int = 0
    ended_before: int = 0
    """Programs that were through before they were killed."""
    gone_on_with: int = 0
    submitted: int = 0
    """Jobs, meanwhile."""
    differed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def projections() -> dict[str, Projection | Subscription]:
    """Return one of each kind."""
    return {"jobs": named("jobs"), "audit_events": audit_events.SUBSCRIPTION}


async def battery(uri: str, wanted: Battery) -> Outcome:
    """Fill the log of an empty database and do it."""
    dice = Random(wanted.seed)  # noqa: S311  a course of events that can be repeated
    database, outcome = Database(uri), Outcome()
    await fill(uri, wanted.events)
    async with _followed(database), _written(uri, outcome):
        names = list(projections())
        seconds = {name: (await _rebuilt(database, name)).seconds for name in names}
        while outcome.kills < wanted.kills:
            name = names[(outcome.kills + outcome.ended_before) % len(names)]
            was_killed = await _killed(uri, name, dice.uniform(0, seconds[name]))
            outcome.kills += was_killed
            outcome.ended_before += not was_killed
            if dice.random() < 0.5:  # noqa: PLR2004  else it is killed once more where it went on
                outcome.gone_on_with += (await _rebuilt(database, name)).was_under_way
        for name in names:
            made = await _rebuilt(database, name)
            outcome.gone_on_with += made.was_under_way
            if made.differed or await _differs(database, name):
                outcome.differed.append(name)
    connection = await database.connect(role=False)
    outcome.left = [row[0] for row in await connection.fetch(_LEFT) if row[0] != "rebuild_slices"]
    await connection.close()
    return outcome


async def _killed(uri: str, name: str, seconds: float) -> bool:
    """Start a rebuild and kill it; False when it had ended by itself."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert program.stdin is not None and program.stdout is not None  # noqa: S101, PT018  pipes
    order = {"path": sys.path, "uri": uri, "name": name, "events_each": _EVENTS_EACH}
    program.stdin.write(json.dumps(order).encode() + b"\n")
    await program.stdout.readline()
    try:
        await asyncio.wait_for(program.wait(), seconds)
    except TimeoutError:
        program.kill()
    return await program.wait() == -signal.SIGKILL


async def _rebuilt(database: Database, name: str) -> Rebuilt:
    """Rebuild, once the server has seen that the killed one is gone."""
    async with asyncio.timeout(_GONE_SECONDS):
        while True:
            try:
                return await rebuild(
                    database, projections()[name], lambda _done, _total: None, _EVENTS_EACH
                )
            except RebuildUnderWay:
                await asyncio.sleep(0.05)


async def _differs(database: Database, name: str) -> bool:
    one = projections()[name]
    if isinstance(one, Subscription):
        return bool((await refilling.verify(database, one)).differences)
    return bool((await verify.verify(database, one, lambda _done, _total: None)).differences)


@asynccontextmanager
async def _followed(database: Database) -> AsyncIterator[None]:
    """Run the asynchronous one meanwhile; begin when it has what was there."""
    async with (
        Doorbell(database, ["events"]) as doorbell,
        Runner(database, doorbell, audit_events.SUBSCRIPTION),
    ):
        connection = await database.connect()
        while (await standings(connection, ["audit_events"]))[0].lag_events:  # noqa: ASYNC110  a measure
            await asyncio.sleep(0.05)
        await connection.close()
        yield


@asynccontextmanager
async def _written(uri: str, outcome: Outcome) -> AsyncIterator[None]:
    """Submit jobs meanwhile."""

    async def submit() -> None:
        async with Submitter(uri, user_id=new_id()) as submitter:
            while True:
                await submitter.submit(job_command="true")
                outcome.submitted += 1
                await asyncio.sleep(0.01)

    submitting = asyncio.create_task(submit())
    try:
        yield
    finally:
        submitting.cancel()
        await asyncio.wait([submitting])


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    wanted = Battery(**vars(parser.parse_args(arguments)))

    async def on_a_server() -> Outcome:
        async with server() as uri:
            return await battery(uri, wanted)

    outcome = run_to_end(on_a_server())
    print(json.dumps({"measure": "rebuild_kills", **asdict(wanted), **asdict(outcome)}))  # noqa: T201  its output
    return int(bool(outcome.differed or outcome.left or not outcome.gone_on_with))


if __name__ == "__main__":
    sys.exit(main())
