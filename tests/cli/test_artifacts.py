"""`artifacts`: what a job left is listed and fetched, into one directory and nowhere else."""

from pathlib import Path

import pytest

from reactorcide.cli.saving import NameRefusedError, directory_at, save
from reactorcide.tests.cli.program import Program


def test_artifacts_come_from_a_job_to_a_directory(stack: Program, tmp_path: Path) -> None:
    """All of them, or one; listed with size and digest."""
    command = (
        'cd "$REACTORCIDE_ARTIFACTS_DIR"; mkdir dir; printf one > dir/a; '
        "head -c 6000000 /dev/zero > b; ln -s /etc/passwd c"
    )
    job_id = str(stack("submit", "--", command).stdout.strip())
    log = stack("logs", job_id, "--follow").stdout
    assert log == "artifact refused: 'c' is a symbolic link\n"
    listed = stack.json("artifacts", "list", job_id)["artifacts"]
    assert [(one["path"], one["size"]) for one in listed] == [("b", 6_000_000), ("dir/a", 3)]
    got = stack("artifacts", "get", job_id, "--to", str(tmp_path / "all"))
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == [str(tmp_path / "all" / name) for name in ("b", "dir/a")]
    assert (tmp_path / "all" / "dir" / "a").read_text() == "one"
    assert (tmp_path / "all" / "b").read_bytes() == bytes(6_000_000)
    stack("artifacts", "get", job_id, "dir/a", "--to", str(tmp_path / "one"))
    assert [path.name for path in (tmp_path / "one").rglob("*")] == ["dir", "a"]
    missing = stack("artifacts", "get", job_id, "nothing", "--to", str(tmp_path / "none"))
    assert (missing.returncode, missing.stdout) == (5, "")


@pytest.mark.parametrize(
    "name",
    ["../out", "/out", "a/../../out", "a//b", "", ".", "..", "a/..", "a/.", "a\0b", "link/out"],
)
def test_nothing_is_written_outside_of_the_directory(tmp_path: Path, name: str) -> None:
    """Whatever a server says that a file is called, and whatever links are there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(outside)
    with directory_at(tmp_path / "root") as root, pytest.raises((NameRefusedError, OSError)):
        save(root, name, [b"x"])
    assert [path.name for path in (tmp_path / "root").iterdir() if path.name != "a"] == ["link"]
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    """Not written through; and a download that breaks leaves what was there."""
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "file").symlink_to(tmp_path / "victim")
    with directory_at(tmp_path / "root") as root:
        save(root, "file", [b"new"])
        with pytest.raises(ZeroDivisionError):
            save(root, "file", (b"x" * (1 // n) for n in (1, 0)))
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "root" / "file").read_text() == "new"
    assert len(list((tmp_path / "root").iterdir())) == 1
