"""Every statement fits the schema, and an append looks nothing up without an index.

A statement is a module-level text (or an entry of a module-level mapping of texts) that begins
with a statement's first word. A name that ends in `_PART` is a part of one; a text that begins
with a comma is a projection's fragment, which an append's statement is put around; a text with
`%1$I` becomes a statement on the server; both texts of a `Guard` are parts of the guarded
append. None of the last three is a statement on its own.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final

import asyncpg

from reactorcide import eventstore, projections
from reactorcide.eventstore import append_sql, guard_sql
from reactorcide.eventstore.append_sql import Fresh
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.guard_sql import Choice, Guard
from reactorcide.projections import job_rows
from reactorcide.tests.conftest import Connection

STATEMENT: Final = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE
)
PART: Final = re.compile(r"_PART(\[.*\])?$")
TEMPLATE: Final = re.compile(r"%\d\$I")
PART_OF_OTHERS: Final = re.compile(r"FROM (new_rows|standing)\b")
FRAGMENT: Final = re.compile(r"\s*,\s*\w+ AS \(", re.IGNORECASE)


def modules() -> Iterator[ModuleType]:
    """Import all modules that may hold SQL."""
    for package in (eventstore, projections):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            yield importlib.import_module(found.name)


def texts() -> Iterator[tuple[str, str]]:
    """Give every module-level text, with a name for it."""
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, str):
                yield f"{module.__name__}.{name}", value
            elif isinstance(value, Mapping):
                for key, text in value.items():
                    if isinstance(text, str):
                        yield f"{module.__name__}.{name}[{key}]", text


def guards() -> Iterator[tuple[str, Guard]]:
    """Give every module-level guard, with a name for it."""
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, Guard):
                yield f"{module.__name__}.{name}", value


def choices() -> Iterator[tuple[str, Choice]]:
    """Give every module-level choice, with a name for it."""
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, Choice):
                yield f"{module.__name__}.{name}", value


ALL: Final = dict(texts())
GUARDS: Final = dict(guards())
CHOICES: Final = dict(choices())
OF_GUARDS: Final = frozenset(text for g in GUARDS.values() for text in (g.standing, g.rows))
OF_CHOICES: Final = re.compile(r"\[first_\w+\]$")
"""What `Choice`s are put together from is no statement by itself."""
ALIKE: Final = tuple(
    map(
        frozenset,
        (
            (),
            *((name,) for name, _ in job_rows.NEW_COLUMNS[1:-1]),
            {name for name, _ in job_rows.NEW_COLUMNS[1:]},
        ),
    )
)
NEW_JOBS: Final = {
    f"new jobs {place}, same {' '.join(sorted(same))}": job_rows.new_rows_sql(place, same)
    for place in ("into_ready", "into_waiting")
    for same in ALIKE
}
FRAGMENTS: Final = {
    name: text
    for name, text in ALL.items()
    if FRAGMENT.match(text) and not PART_OF_OTHERS.search(text)
} | NEW_JOBS
ROWS: Final = {"no rows": ""} | FRAGMENTS
PLAIN: Final = {
    f"plain append, {profile}, to {name}": append_sql.plain(each, rows)
    for name, rows in ROWS.items()
    for profile, each in (
        ("one context", append_sql.ONE_CONTEXT),
        ("one context, all alike", append_sql.KEYS),
        ("everything", append_sql.EVERYTHING),
    )
}
CAREFUL: Final = {
    f"careful append to {name}": append_sql.careful(rows) for name, rows in ROWS.items()
}


def the_same(guard: Guard) -> Iterator[frozenset[str]]:
    """Give what may have one value for all events: nothing, each alone, everything."""
    names = ("version", "data", *(name for name, _ in guard.columns))
    yield from map(frozenset, ((), *((name,) for name in names), names))


GUARDED: Final = {
    f"append guarded by {name}, same {' '.join(sorted(same))}": guard_sql.guarded(guard, same)
    for name, guard in GUARDS.items()
    if guard.then is None
    for same in the_same(guard)
} | {
    f"append to many guarded by {name}": guard_sql.to_many(guard) for name, guard in GUARDS.items()
}
BEGINNINGS: Final = {
    "by one": Fresh("job.submitted", 1, frozenset({"data"})),
    "by one, all alike": Fresh("job.submitted", 1),
    "by many": Fresh("a.b", 1, frozenset(append_sql.CONTEXT)),
}
FRESH: Final = {
    f"new streams {name}, {place}, same {' '.join(sorted(same))}, to many {to_many}": (
        append_sql.fresh(shape, job_rows.fresh_rows_sql(place, same), to_many=to_many)
    )
    for name, shape in BEGINNINGS.items()
    for place in ("into_ready", "into_waiting")
    for same in ALIKE
    for to_many in (False, True)
}
FOUND: Final = {
    f"append to found by {name}": guard_sql.found(choice) for name, choice in CHOICES.items()
}
APPENDS: Final = PLAIN | CAREFUL | GUARDED | FRESH | FOUND
STATEMENTS: Final = {
    name: text
    for name, text in ALL.items()
    if STATEMENT.match(text)
    and not PART.search(name)
    and not TEMPLATE.search(text)
    and text not in OF_GUARDS
    and not OF_CHOICES.search(name)
} | APPENDS


def test_the_statements_are_found() -> None:
    """The search does not come back empty-handed when something is renamed."""
    assert "reactorcide.eventstore.store._READ_STREAM" in STATEMENTS
    assert len(FRAGMENTS) >= 4
    assert len(GUARDS) >= 3
    assert len(CHOICES) >= 1
    assert len(STATEMENTS) >= 60


async def test_every_statement_fits_the_schema(connection: Connection) -> None:
    """PostgreSQL prepares each of them: tables, columns, types and parameters are right."""
    wrong = {}
    for name, text in STATEMENTS.items():
        try:
            await connection.prepare(text)
        except asyncpg.PostgresError as error:
            wrong[name] = str(error)
    assert wrong == {}


async def test_an_append_scans_and_joins_nothing_as_a_whole(database: Database) -> None:
    """On a writer's connection the planner believes in no scan, however small the tables.

    A hashed subplan over the appended streams is no join: it is as small as the append.
    """
    plans = await the_writers_plans(database, APPENDS)
    whole = re.compile("Seq Scan|Hash Join|Merge Join")
    assert {name: plan for name, plan in plans.items() if whole.search(plan)} == {}


async def test_the_version_before_is_looked_up_by_its_index(database: Database) -> None:
    """Once per event, in the same index that refuses a version twice."""
    for name, plan in (await the_writers_plans(database, PLAIN | CAREFUL)).items():
        looked_up = r"Index (Only )?Scan using events_stream_version on events e"
        assert re.search(looked_up, plan), name
        is_careful = "Conflict Arbiter Indexes: events_stream_version" in plan
        assert is_careful == (name in CAREFUL), name


async def test_a_guarded_append_does_not_read_the_log(database: Database) -> None:
    """It only inserts there; what stands where is told by the projection's own key."""
    for name, plan in (await the_writers_plans(database, GUARDED)).items():
        assert re.findall(r"(\S+) on events\b", plan) == ["Insert"], name
        assert re.search(r"Index Scan using jobs_\w+_pkey on jobs_\w+ j", plan), name
        assert "Materialize" not in plan, name


async def test_a_stream_is_read_by_its_index(connection: Connection) -> None:
    """Reading one stream, or many, or a page of the log never scans the log."""
    await connection.execute("SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off")
    for name, index in (
        ("_READ_STREAM", "events_stream_version"),
        ("_READ_STREAMS", "events_stream_version"),
        ("_READ_ALL", "events_pkey"),
    ):
        plan = await the_plan(connection, ALL[f"reactorcide.eventstore.store.{name}"])
        assert f"using {index} on events" in plan or f"on {index}" in plan


async def the_writers_plans(database: Database, texts: Mapping[str, str]) -> dict[str, str]:
    """Return the generic plan of each statement on a writer's connection."""
    writer = await database.connect_writer()
    try:
        return {name: await the_plan(writer, text) for name, text in texts.items()}
    finally:
        await writer.close()


async def the_plan(connection: Connection, text: str) -> str:
    """Return the generic plan of a statement."""
    count = max(map(int, re.findall(r"\$(\d+)", text)))
    nulls = ", ".join(["NULL"] * count)
    await connection.execute("PREPARE planned AS " + text)
    rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({nulls})")
    await connection.execute("DEALLOCATE planned")
    return "\n".join(row[0] for row in rows)
