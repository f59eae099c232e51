"""Every statement fits the schema, and an append looks nothing up without an index.

A statement is a module-level text (or an entry of a module-level mapping of texts) that begins
with a statement's first word. A name that ends in `_PART` is a part of one; a text that begins
with a comma is a projection's fragment, which an append's statement is put around; a text with
`%1$I` becomes a statement on the server. The last two are not statements on their own.
"""

import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Final

import asyncpg
import pytest

from reactorcide import eventstore, projections
from reactorcide.eventstore.database import Database
from reactorcide.eventstore.store import append_statement
from reactorcide.tests.conftest import Connection

STATEMENT: Final = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|WITH|INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE
)
PART: Final = re.compile(r"_PART(\[.*\])?$")
TEMPLATE: Final = re.compile(r"%\d\$I")
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


ALL: Final = dict(texts())
FRAGMENTS: Final = {name: text for name, text in ALL.items() if FRAGMENT.match(text)}
APPENDS: Final = {
    (fragment, is_one_each, is_new): append_statement(text, is_one_each=is_one_each, is_new=is_new)
    for (fragment, text), is_one_each, is_new in itertools.product(
        [("no rows", ""), *FRAGMENTS.items()], [True, False], [True, False]
    )
}
STATEMENTS: Final = {
    name: text
    for name, text in ALL.items()
    if STATEMENT.match(text) and not PART.search(name) and not TEMPLATE.search(text)
} | {f"append to {key}": text for key, text in APPENDS.items()}


def test_the_statements_are_found() -> None:
    """The search does not come back empty-handed when something is renamed."""
    assert "reactorcide.eventstore.store._READ_STREAM" in STATEMENTS
    assert len(FRAGMENTS) >= 4
    assert len(STATEMENTS) >= 40


async def test_every_statement_fits_the_schema(connection: Connection) -> None:
    """PostgreSQL prepares each of them: tables, columns, types and parameters are right."""
    wrong = {}
    for name, text in STATEMENTS.items():
        try:
            await connection.prepare(text)
        except asyncpg.PostgresError as error:
            wrong[name] = str(error)
    assert wrong == {}


@pytest.mark.parametrize("key", APPENDS, ids=str)
async def test_an_append_looks_up_by_index_only(
    database: Database, key: tuple[str, bool, bool]
) -> None:
    """On a writer's connection the planner believes in no scan, however small the tables."""
    writer = await database.connect_writer()
    try:
        plan = await the_plan(writer, APPENDS[key])
    finally:
        await writer.close()
    assert "Seq Scan" not in plan
    assert "Hash" not in plan
    _, _, is_new = key
    if not is_new:
        assert re.search(r"Index (Only )?Scan using events_stream_version on events e", plan)
        assert "Conflict Arbiter Indexes: events_stream_version" in plan


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


async def the_plan(connection: Connection, text: str) -> str:
    """Return the generic plan of a statement."""
    count = max(map(int, re.findall(r"\$(\d+)", text)))
    nulls = ", ".join(["NULL"] * count)
    await connection.execute("PREPARE planned AS " + text)
    rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({nulls})")
    await connection.execute("DEALLOCATE planned")
    return "\n".join(row[0] for row in rows)
