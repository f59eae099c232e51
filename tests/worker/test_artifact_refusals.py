"""What may not be kept as an artifact is refused, one by one, and told in the log."""

import os
from pathlib import Path

import pytest

from reactorcide.eventstore.database import Database
from reactorcide.eventstore.domain.job import Status
from reactorcide.tests.worker.artifacts_at_work import CD, left_by, small
from reactorcide.tests.worker.jobs_at_work import (
    SEALER,
    Desk,
    working,
)
from reactorcide.worker.artifact_files import Look, Unkept, open_file, opened_directory
from reactorcide.worker.coordinator import Kept
from reactorcide.worker.settings import ArtifactLimits, WorkerSettings

REFUSED = {
    "ln -s /etc/passwd link": "'link' is a symbolic link",
    "ln -s /etc below": "'below' is a symbolic link",
    "mkfifo pipe": "'pipe' is a pipe",
    "printf x > \"$(printf 'a\\001b')\"": r"'a\x01b' has control characters in its name",
    "printf x > \"$(printf 'a\\nb')\"": r"'a\nb' has control characters in its name",
    "printf x > \"$(printf 'a\\377b')\"": r"'a\udcffb' is not UTF-8",
    "head -c 2000 /dev/zero > large": "'large' has 2000 bytes, more than 1000",
    'printf x > "hunter2.txt"': "'***.txt' has a secret value in its name",
    "mkdir -p $(yes d | head -70 | tr '\\n' /)": "is more than 64 directories deep",
    "mkdir dir; ln -s / dir/root": "'dir/root' is a symbolic link",
}


@pytest.mark.parametrize(("command", "words"), REFUSED.items(), ids=lambda text: text[:20])
async def test_what_may_not_be_kept_is_told_in_the_log(
    database: Database, desk: Desk, settings: WorkerSettings, command: str, words: str
) -> None:
    """On stderr, one line; the job completes, and what may be kept is."""
    async with working(database, small(settings, file_bytes=1000)):
        job_id = await desk.submit(
            f"{CD} printf ok > fine; {command}",
            sealed_env_vars={"PASSWORD": SEALER.seal("hunter2", "PASSWORD")},
        )
        job = await desk.ends(job_id)
        assert job.state.status is Status.COMPLETED, job.state.last_error
    assert words in (await desk.log(job_id)).decode()
    assert (await desk.log(job_id)).count(b"\n") == 1
    assert await left_by(desk, job_id) == {"fine": 2}
    streams = await desk.pool.fetch("SELECT stream FROM log_chunks WHERE job_id = $1", job_id)
    assert {row["stream"] for row in streams} == {"stderr"}


async def test_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    """What a shell can't make everywhere."""
    os.mknod(tmp_path / "socket", 0o600 | 0o140000)
    kinds = {"'socket' is a socket"}
    if os.geteuid() == 0:
        os.mknod(tmp_path / "device", 0o600 | 0o020000, os.makedev(1, 3))
        kinds.add("'device' is a device")
    with opened_directory(tmp_path) as directory:
        assert directory is not None
        look = Look(ArtifactLimits(), Kept(0, 0), lambda _: False)
        look.through(directory)
    assert look.files == []
    assert {line.removeprefix("artifact refused: ") for line in look.refusals.lines()} == kinds


async def test_a_directory_that_is_a_link_is_not_followed(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """The artifacts directory itself, put elsewhere by the command."""
    async with working(database, settings):
        job_id = await desk.submit(
            'rmdir "$REACTORCIDE_ARTIFACTS_DIR"; ln -s /etc "$REACTORCIDE_ARTIFACTS_DIR"'
        )
        assert (await desk.ends(job_id)).state.status is Status.COMPLETED
    assert await left_by(desk, job_id) == {}
    assert b"artifacts refused: the directory cannot be read" in await desk.log(job_id)


def test_nothing_outside_is_read_when_a_name_changes(tmp_path: Path) -> None:
    """A directory or file that became a link between look and read is refused then."""
    inside = tmp_path / "inside"
    (inside / "d").mkdir(parents=True)
    for path in (inside / "d" / "file", inside / "file"):
        path.write_text("harmless")
    with opened_directory(inside) as directory:
        assert directory is not None
        (inside / "d" / "file").unlink()
        (inside / "d").rmdir()
        (inside / "d").symlink_to("/etc")
        (inside / "file").unlink()
        (inside / "file").symlink_to("/etc/passwd")
        for parts in (("d", "passwd"), ("file",), ("..", "inside", "file")):
            with pytest.raises(Unkept, match="cannot be read"):
                open_file(directory, parts)
        (inside / "file").unlink()
        os.mkfifo(inside / "file")
        with pytest.raises(Unkept, match="not a file any more"):
            open_file(directory, ("file",))


async def test_limits_hold_over_all_attempts_of_a_job(
    database: Database, desk: Desk, settings: WorkerSettings
) -> None:
    """Files and bytes; what is over is named, and what is far over is counted."""
    async with working(database, small(settings, files=5, job_bytes=100)):
        job_id = await desk.submit(
            CD + "for n in 1 2 3; do printf 1234567890 > f$n; done; exit 1",
            max_attempts=2,
            retry_backoff_seconds=0,
        )
        await desk.ends(job_id)
        assert await left_by(desk, job_id, 1) == {"f1": 10, "f2": 10, "f3": 10}
        assert await left_by(desk, job_id, 2) == {"f1": 10, "f2": 10}
        assert "'f3' is beyond the 5 files of a job" in (await desk.log(job_id, 2)).decode()
        job_id = await desk.submit(CD + "head -c 90 /dev/zero > a; head -c 11 /dev/zero > b")
        await desk.ends(job_id)
        assert await left_by(desk, job_id) == {"a": 90}
        assert b"'b' is beyond the 100 bytes of a job" in await desk.log(job_id)
        job_id = await desk.submit(CD + "for n in $(seq 10 55); do : > $n; done")
        await desk.ends(job_id)
        lines = (await desk.log(job_id)).decode().splitlines()
        assert len(lines) == 21
        assert lines[-1] == "artifact refused: 21 more"
