"""`audit verify` and `audit bundle`: what they print, and how they exit."""

import json
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.signed_note import Signer, signing_key
from reactorcide.projections import sealed_log
from reactorcide.tests.cli.program import Program
from reactorcide.tests.conftest import Connection
from reactorcide.tests.projections.journal import Journal
from reactorcide.tests.projections.sealed import seal


@pytest.fixture
async def sealed(
    on_database: Program, database: Database, connection: Connection, tmp_path: Path
) -> Program:
    """The command where two jobs are sealed and one is not; its key is in the data dir."""
    journal = Journal(connection)
    for _ in range(2):
        await journal.finish(await journal.submit())
    key = signing_key(tmp_path / "data" / "log.key")
    await seal(database, key=key)
    await journal.submit()
    return on_database


async def test_a_log_that_is_right_is_exit_0(
    sealed: Program, connection: Connection, tmp_path: Path
) -> None:
    """With a summary, what is not sealed, and each table; by the key file or a public key."""
    done = sealed("audit", "verify")
    assert done.returncode == 0, done.stderr
    assert "8 events up to position 8 are as they were sealed; 1 checkpoints of" in done.stdout
    assert "1 events not sealed yet" in done.stdout
    assert "jobs: 3 rows, equal to the log" in done.stdout
    origin = await sealed_log.origin(connection)
    public = Signer(origin, signing_key(tmp_path / "data" / "log.key")).verifier.text
    elsewhere = sealed.having(DATA_DIR=str(tmp_path / "elsewhere"))
    report = elsewhere.json("audit", "verify", "--no-tables", "--public-key", public)
    assert (report["is_right"], report["events"], report["events_not_sealed"]) == (True, 8, 1)
    refused = elsewhere("audit", "verify")
    assert refused.returncode == 2
    assert "give --public-key" in refused.stderr
    assert not (tmp_path / "elsewhere" / "log.key").exists()
    assert elsewhere("audit", "verify", "--public-key", "nonsense").returncode == 2
    stranger = Signer(origin, bytes(32)).verifier.text
    assert elsewhere("audit", "verify", "--public-key", stranger).returncode == 1


async def test_the_first_wrong_position_is_exit_1(sealed: Program, connection: Connection) -> None:
    """It names position, stream and what is wrong."""
    await connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
    stream_id = await connection.fetchval(
        "UPDATE events SET data = '{\"attempt\": 7}' WHERE position = 4 RETURNING stream_id"
    )
    done = sealed("audit", "verify")
    assert done.returncode == 1
    assert f"wrong at position 4, job {stream_id}: edited: " in done.stdout
    assert "3 events before it are as they were sealed" in done.stdout
    report = json.loads(sealed("audit", "verify", "-o", "json").stdout)
    assert report["is_right"] is False
    assert report["wrong"]["position"] == 4


async def test_a_table_that_is_not_what_the_log_says_is_exit_1(
    sealed: Program, connection: Connection
) -> None:
    """Each row and column that differs is named."""
    job_id = await connection.fetchval("SELECT min(job_id::text) FROM jobs WHERE exit_code = 0")
    await connection.execute("UPDATE jobs SET exit_code = 9 WHERE job_id::text = $1", job_id)
    done = sealed("audit", "verify")
    assert done.returncode == 1
    assert "jobs: not what the log says" in done.stdout
    assert f"jobs {job_id}: changed exit_code" in done.stderr


async def test_copies_of_checkpoints_tell_of_a_tail_that_was_cut(
    sealed: Program, connection: Connection, tmp_path: Path
) -> None:
    """Those in a directory, and those in the object store without being asked for."""
    newest = (await sealed_log.newest(connection))[0]
    kept, store = tmp_path / "kept", tmp_path / "data" / "objects" / "audit" / "checkpoints"
    kept.mkdir()
    (kept / "8").write_text(newest.note, "utf-8")
    copies = ("--checkpoints", str(kept))
    assert sealed("audit", "verify", "--no-tables", *copies).returncode == 0
    await connection.execute("""
        ALTER TABLE events DISABLE TRIGGER USER;
        DELETE FROM events;
        TRUNCATE sealed_tiles, tree_tiles, signed_checkpoints""")
    # A database that was emptied says nothing of it by itself.
    assert sealed("audit", "verify", "--no-tables").returncode == 0
    done = sealed("audit", "verify", "--no-tables", *copies)
    assert (done.returncode, "tail cut: a checkpoint in" in done.stdout) == (1, True)
    store.mkdir(parents=True)
    (store / "8").write_text(newest.note, "utf-8")
    done = sealed("audit", "verify", "--no-tables")
    assert (done.returncode, "tail cut: a checkpoint in" in done.stdout) == (1, True)
    done = sealed("audit", "verify", "--checkpoints", str(tmp_path / "nowhere"))
    assert (done.returncode, "no checkpoint in" in done.stderr) == (2, True)


async def test_a_bundle_is_verified_without_a_database(
    sealed: Program, connection: Connection, tmp_path: Path
) -> None:
    """By the public key alone; a file that is none is refused."""
    bundle = str(tmp_path / "one.bundle")
    stream = str(await connection.fetchval("SELECT min(stream_id::text) FROM events"))
    assert sealed("audit", "bundle", bundle, "--stream", stream).returncode == 0
    origin = await sealed_log.origin(connection)
    public = tmp_path / "log.pub"
    text = Signer(origin, signing_key(tmp_path / "data" / "log.key")).verifier.text
    public.write_text(text, "ascii")
    alone = sealed.having(DB_URI="", DATA_DIR=str(tmp_path / "elsewhere"))
    done = alone("audit", "verify", "--bundle", bundle, "--public-key", str(public))
    assert done.returncode == 0, done.stderr
    assert "4 events up to position" in done.stdout
    assert not (tmp_path / "elsewhere").exists()
    done = alone("audit", "verify", "--bundle", str(public), "--public-key", str(public))
    assert done.returncode == 1
    assert "is broken" in done.stderr
    assert alone("audit", "verify", "--bundle", "nowhere").returncode == 2
    both = sealed("audit", "bundle", bundle, "--stream", stream, "--from", "3")
    assert both.returncode == 2
