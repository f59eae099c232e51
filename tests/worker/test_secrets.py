"""What is secret is in no log, no event, no answer and no table."""

import base64
import gzip
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.eventstore.ids import new_id
from reactorcide.eventstore.objects import ObjectStore
from reactorcide.projections import log_objects
from reactorcide.projections.small_logs import SmallLogs
from reactorcide.tests.worker.canaries import canaries, writings
from reactorcide.tests.worker.jobs_at_work import SEALER, Desk, eventually, request, working
from reactorcide.tests.worker.jobs_at_work import settings_for as settings
from reactorcide.worker.coordinator import AttemptKey, Chunk, ClaimedAttempt
from reactorcide.worker.secrets import NO_SECRETS, open_all


async def dump(desk: Desk) -> bytes:
    """Return all rows of all tables, as text."""
    tables = await desk.pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        " AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')"
    )
    rows = []
    for table in tables:
        found = await desk.pool.fetch(f"SELECT t.*::text AS row FROM {table['name']} t")  # noqa: S608  names of ours
        rows += [row["row"].encode() for row in found]
    chunks = await desk.pool.fetch("SELECT bytes FROM log_chunks")
    return b"\n".join([*rows, *(row["bytes"] for row in chunks)])


async def test_no_secret_is_anywhere_in_the_database(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """However the command prints it, on both streams, byte by byte."""
    values = {
        f"SECRET_{at}": value for at, value in enumerate(canaries(40, seed=5)) if len(value) > 7
    }
    printed = [text for value in values.values() for _, text, _ in writings(value)]
    (tmp_path / "printed.json").write_text(
        json.dumps([base64.b64encode(t).decode() for t in printed])
    )
    script = (
        "import base64, json, os, sys\n"
        f"for at, text in enumerate(json.load(open({str(tmp_path / 'printed.json')!r}))):\n"
        "    data = base64.b64decode(text)\n"
        "    os.write(1 + at % 2, data[:at % 7]); os.write(1 + at % 2, data[at % 7:] + b'\\n')\n"
    )
    sealed = {name: SEALER.seal(value, name) for name, value in values.items()}
    async with working(database, settings(tmp_path)):
        job_id = await desk.submit(
            f"'{sys.executable}' -c \"$SCRIPT\"",
            sealed_env_vars=sealed,
            job_env_vars={"SCRIPT": script},
        )
        assert (await desk.ends(job_id)).state.status is Status.COMPLETED
        found = await dump(desk)
    for value in values.values():
        for name, text, _ in writings(value):
            assert text.strip(b"<>") not in found, name


async def test_no_secret_is_in_the_object_store(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Neither in a log's object, large or small, nor in the name of an artifact."""
    value, at = "hunter2hunter2", tmp_path / "objects"
    sealed = {"TOKEN": SEALER.seal(value, "TOKEN")}
    objects = ObjectStore(at.as_uri())
    async with working(database, settings(tmp_path, object_store_url=objects.url)):
        for text in ("%s", "%9000s"):
            job_id = await desk.submit(
                f'printf "{text}" "$TOKEN"; touch "$REACTORCIDE_ARTIFACTS_DIR/$TOKEN" '
                '"$REACTORCIDE_ARTIFACTS_DIR/kept"',
                sealed_env_vars=sealed,
            )
            assert (await desk.ends(job_id)).state.status is Status.COMPLETED
        # The worker itself sees to the large one: stopped amid that, it leaves it for later.
        await eventually(lambda: log_objects.find(desk.pool, job_id))
    await SmallLogs(desk.pool, objects).store_some(rest_seconds=0)
    keys = await objects.keys("jobs")
    assert len(keys) == 4
    assert await desk.pool.fetchval("SELECT count(*) FROM log_chunks") == 0
    for key in keys:
        data = await objects.read(key)
        shown = gzip.decompress(data) if key.endswith(".gz") else data
        assert value.encode() not in key.encode() + shown
    assert value.encode() not in await dump(desk)


async def test_the_coordinator_masks_once_more_what_it_stores(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Whoever hands it a log: as long as the attempt's secrets are in use."""
    async with working(database, settings(tmp_path)) as at_work:
        sealed = {"TOKEN": SEALER.seal("hunter2hunter2", "TOKEN")}
        job_id = await desk.submit("sleep 30", sealed_env_vars=sealed)
        await desk.becomes(job_id, Status.RUNNING)
        key = AttemptKey(job_id, 1)
        chunk = Chunk(900, "stdout", datetime.now(UTC), b"it is hunter2hunter2!")
        await at_work.coordinator.log(key, [chunk])
        assert await desk.log(job_id) == b"it is ***!"
        await desk.cancel(job_id, 0)
        await desk.ends(job_id)


async def test_the_reason_of_a_failure_holds_no_secret(
    database: Database, desk: Desk, tmp_path: Path
) -> None:
    """Even where the job's own fields do."""
    async with working(database, settings(tmp_path)):
        job_id = await desk.submit(
            source_type="copy",
            source_path="/nowhere/hunter2hunter2",
            sealed_env_vars={"TOKEN": SEALER.seal("hunter2hunter2", "TOKEN")},
        )
        error = (await desk.ends(job_id)).state.last_error or ""
        assert "/nowhere/***" in error


async def test_what_is_no_secret_costs_nothing(database: Database, tmp_path: Path) -> None:
    """No pattern is made, and a piece passes as the object that it is."""
    async with working(database, settings(tmp_path)) as at_work:
        claimed = ClaimedAttempt(AttemptKey(new_id(), 1), request())
        assert await at_work.coordinator.open_secrets(claimed) is NO_SECRETS
    piece = b"x" * 1000
    assert NO_SECRETS.masker().feed(piece) is piece
    assert NO_SECRETS.hide_bytes(piece) is piece


async def test_secrets_show_their_names_only() -> None:
    """In whatever is printed of them by mistake."""
    secrets = await open_all({"TOKEN": "hunter2hunter2", "LONG": "x" * 5000})
    assert repr(secrets) == "Secrets(TOKEN, LONG)"
    assert secrets.hide("hunter2hunter2" + "x" * 5000) == "******"
