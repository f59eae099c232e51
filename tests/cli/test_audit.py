"""`audit` and `projections run`: the trail is shown, and followed until a signal comes."""

import asyncio
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from reactorcide.eventstore import merkle
from reactorcide.eventstore.merkle import HASH_BYTES
from reactorcide.eventstore.signed_note import TreeHead, Verifier, signing_key
from reactorcide.projections import checkpoints, sealer
from reactorcide.tests.cli.program import Program, Running, a_socket, running, served, until
from reactorcide.tests.conftest import Connection
from reactorcide.tests.eventstore import waiting
from reactorcide.tests.projections.test_sealer import FILL, check_tree, is_all_sealed


def test_the_trail_is_filtered_and_paged(stack: Program) -> None:
    """In the API's envelope, newest first; the table has the actor in one word."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    listed = stack.json("audit", "list", "--stream-id", job_id, "--limit", "2")
    assert [event["type"] for event in listed["events"]] == ["job.completed", "job.started"]
    cursor = listed["next_cursor"]
    rest = stack.json("audit", "list", "--stream-id", job_id, "--cursor", cursor)
    assert [event["type"] for event in rest["events"]] == [
        "job.claimed",
        "job.submitted",
    ]
    by = listed["events"][0]["actor"]["id"]
    shown = stack("audit", "list", "--actor", by, "--type", "job.completed").stdout
    columns = [line.split("\t") for line in shown.splitlines()]
    assert {line[2] for line in columns} == {"job.completed"}
    assert job_id in {line[3] for line in columns}
    assert {line[4] for line in columns} == {f"worker {by}"}


def test_a_request_is_shown_with_what_followed(stack: Program) -> None:
    """Below each other, indented; an id that nothing carries is told apart from nothing done."""
    job_id = stack("submit", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    listed = stack.json("audit", "list", "--stream-id", job_id, "--type", "job.submitted")
    request_id = listed["events"][0]["request_id"]
    lines = stack("audit", "tree", request_id).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        "job.submitted",
        "  job.claimed",
        "    job.started",
        "      job.completed",
    ]
    assert stack.json("audit", "tree", request_id)["events"][1]["depth"] == 1
    nothing = stack("audit", "tree", "nobodys")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no event carries the request id nobodys" in nothing.stderr


def test_outcomes_and_reads_can_be_asked_for(stack: Program) -> None:
    """What was denied or refused, and who read a job's log; another word is exit 2."""
    job_id = stack("submit", "--", "true").stdout.strip()
    for options in (("--outcome", "denied"), ("--outcome", "refused"), ("--job-id", job_id)):
        assert stack.json("audit", "list", *options)["next_cursor"] is None
    assert stack("audit", "list", "--outcome", "failure").returncode == 2
    assert stack("audit", "list", "--actor", "anonymous").returncode == 0


def test_a_typo_is_exit_2_and_told_the_nearest(stack: Program) -> None:
    """Nothing found would look as if nothing had happened."""
    done = stack("audit", "list", "--type", "job.complete")
    assert done.returncode == 2
    assert "did you mean job.completed?" in done.stderr


def _trail(program: Program) -> dict[str, Any]:
    found = program.json("projections", "list")["projections"]
    (trail,) = [one for one in found if one["name"] == "audit_events"]
    assert trail["kind"] == "async"
    return dict(trail)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_projections_are_followed_until_a_signal(
    on_database: Program, connection: Connection, number: int
) -> None:
    """Then it exits 0, and the list says what is behind, by how much, and why."""
    assert on_database("token", "create", "--user", "u").returncode == 0
    behind = _trail(on_database)
    assert (behind["position"], behind["why"]) == (0, "nobody runs it")
    assert behind["lag_events"] == behind["events"] > 0
    with running(on_database.start("projections", "run")) as runner:
        until(lambda: _trail(on_database)["why"] == "up to date")
        assert runner.stop(number) == 0
        assert "Traceback" not in runner.err
    caught_up = _trail(on_database)
    assert (caught_up["lag_events"], caught_up["position"]) == (0, behind["lag_events"])
    rows = await connection.fetchval("SELECT count(*) FROM audit_events")
    assert rows == caught_up["events"]


def test_a_killed_runner_is_followed_by_the_api(on_database: Program) -> None:
    """Whichever has the lock when it dies, the other goes on."""
    with running(on_database.start("projections", "run")) as runner:
        runner.until(lambda runner: "projections_started" in runner.err)
        with a_socket() as (listening, _), served(on_database, listening):
            runner.stop(signal.SIGKILL)
            assert on_database("token", "create", "--user", "u").returncode == 0
            until(lambda: _trail(on_database)["why"] == "up to date")


def test_what_is_not_there_is_not_redacted(stack: Program) -> None:
    """Exit 5; without a reason it is not even tried."""
    assert stack("audit", "redact", "999999999", "--reason", "a test").returncode == 5
    for words in (("1",), ("--reason", "a test"), ("0", "--reason", "a test")):
        assert stack("audit", "redact", *words).returncode == 2


def test_a_sealed_event_is_redacted(stack: Program) -> None:
    """What is left of it is shown; the second time is a conflict, exit 6."""
    job_id = stack("submit", "--name", "canary", "--", "true").stdout.strip()
    assert stack("logs", job_id, "--follow").returncode == 0
    assert stack("audit", "checkpoint").returncode == 0
    position = str(stack.json("jobs", "events", job_id)["events"][0]["position"])
    left = stack.json("audit", "redact", position, "--reason", "a test")
    assert left["data"]["name"] == "[redacted]"
    assert stack("audit", "redact", position, "--reason", "a test").returncode == 6
    assert stack.json("jobs", "get", job_id)["name"] == "[redacted]"


KILLS: Final = 2


async def test_killed_sealers_leave_neither_gap_nor_double(
    on_database: Program, connection: Connection
) -> None:
    """Two programs, of which the one that seals is killed while others write; the other goes on."""

    def started() -> Running:
        return on_database.start("projections", "run")

    async def sealed_beyond(position: int) -> None:
        async with asyncio.timeout(60):
            while await checkpoints.position(connection, sealer.NAME) <= position:
                await connection.execute(FILL, 100)
                await asyncio.sleep(0.01)

    runners = [started()]
    try:
        await sealed_beyond(0)
        for _ in range(KILLS):
            # Who stands by takes over; who was killed amid a batch leaves nothing of it.
            runners.append(started())
            await asyncio.to_thread(runners[-1].until, lambda one: "projections_started" in one.err)
            await connection.execute(FILL, 5_000)
            await asyncio.to_thread(runners[-2].stop, signal.SIGKILL)
            await sealed_beyond(await checkpoints.position(connection, sealer.NAME))
        await waiting.until(lambda: is_all_sealed(connection), 60)
    finally:
        for one in runners:
            one.end()
    key = signing_key(on_database.home / "data" / "log.key")
    assert await check_tree(connection, key) == await connection.fetchval(
        "SELECT count(*) FROM events"
    )


def test_the_checkpoint_is_printed_and_copied(stack: Program, tmp_path: Path) -> None:
    """To standard output alone; with a directory, the tree in it is the checkpoint's."""
    stack("token", "create", "--user", "u")
    done = stack("audit", "checkpoint", "--directory", str(tmp_path / "tree"))
    assert done.returncode == 0, done.stderr
    verifier = Verifier.parse(done.stderr.partition("verifier key: ")[2])
    head = TreeHead.parse(verifier.open(done.stdout))
    assert (tmp_path / "tree" / "checkpoint").read_text() == done.stdout
    leaves = b"".join(
        (tmp_path / "tree" / name).read_bytes() for name in tile_names(head.tree_size)
    )
    assert len(leaves) == head.tree_size * HASH_BYTES
    assert merkle.root_of(leaves) == head.root
    record = stack.json("audit", "checkpoint")
    assert record["tree_size"] >= head.tree_size
    copies = stack.home / "data" / "objects" / "audit" / "checkpoints"
    until(lambda: copies.exists() and any(copies.iterdir()))


def tile_names(tree_size: int) -> list[str]:
    """Return the files of the leaves of a small tree."""
    whole, width = divmod(tree_size, 256)
    names = [f"tile/0/{tile:03d}" for tile in range(whole)]
    return [*names, f"tile/0/{whole:03d}.p/{width}"] if width else names


def test_a_directory_that_cannot_be_written_is_told(stack: Program, tmp_path: Path) -> None:
    """By its name, before anything else."""
    (tmp_path / "file").touch()
    done = stack("audit", "checkpoint", "--directory", str(tmp_path / "file"))
    assert done.returncode == 2
    assert "can't write to" in done.stderr


def test_a_key_file_that_cannot_be_used_is_told(on_database: Program, tmp_path: Path) -> None:
    """At the start, by its path."""
    (tmp_path / "log.key").write_text("no key")
    done = on_database.having(LOG_KEY_FILE=str(tmp_path / "log.key"))("projections", "run")
    assert done.returncode == 2
    assert str(tmp_path / "log.key") in done.stderr
