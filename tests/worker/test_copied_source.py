"""A job's files are copied from a directory below the roots, and from nowhere else."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reactorcide.tests.worker.sources_at_work import fetch
from reactorcide.worker.copying import copy_tree
from reactorcide.worker.halt import Halt
from reactorcide.worker.workspace import PreparationFailed, Workspace


async def test_the_directory_is_there_without_a_source(workspace: Workspace, roots: Path) -> None:
    """And empty."""
    assert not list((await fetch(workspace, roots)).iterdir())


async def test_a_full_disk_is_a_clear_failure(workspace: Workspace, roots: Path) -> None:
    """Of a copy: what the system says stands in the reason."""
    (roots / "tree").mkdir()
    (roots / "tree" / "big").write_bytes(bytes(4_000_000))
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from reactorcide.worker.copying import copy_tree\n"
        "from reactorcide.worker.halt import Halt\n"
        "from reactorcide.worker.workspace import PreparationFailed\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: copy_tree(sys.argv[1] + '/tree', [Path(sys.argv[1])], Path(sys.argv[2]), Halt())\n"
        "except PreparationFailed as error: print(error.detail)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, str(roots), str(workspace.source)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert "could not be copied: File too large" in done.stdout


async def test_a_name_that_becomes_a_link_is_not_followed(
    workspace: Workspace, roots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late: between the look at it and its opening."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("hunter2")
    for name in ("directory", "file"):
        tree = roots / name
        (tree / "directory").mkdir(parents=True)
        (tree / "file").write_text("mine")
        look = os.stat

        def swap(path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Any:
            found = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)  # noqa: B023  used at once
            if path == name and dir_fd is not None:  # noqa: B023  as above
                (tree / name).rename(tree / "moved")  # noqa: B023  as above
                outside = tmp_path / "outside" / ("file" if name == "file" else "")  # noqa: B023
                (tree / name).symlink_to(outside)  # noqa: B023  as above
            return found

        with monkeypatch.context() as patched:
            patched.setattr("reactorcide.worker.copying.os.stat", swap)
            with pytest.raises(PreparationFailed, match="could not be copied"):
                copy_tree(str(tree), (roots,), workspace.path_of(f"/job/{name}"), Halt())
    assert not any(
        path.is_file() and path.read_text() == "hunter2" for path in workspace.root.rglob("*")
    )


async def test_copy_brings_a_tree_as_it_is(workspace: Workspace, roots: Path) -> None:
    """With its modes; links stay links, wherever they lead."""
    (roots / "tree" / "sub").mkdir(parents=True)
    (roots / "tree" / "sub" / "run").write_text("x")
    (roots / "tree" / "sub" / "run").chmod(0o755)
    (roots / "tree" / "away").symlink_to("/etc/passwd")
    src = await fetch(workspace, roots, source_type="copy", source_path=str(roots / "tree"))
    assert os.access(src / "sub" / "run", os.X_OK)
    assert (src / "away").readlink() == Path("/etc/passwd")


async def test_copy_reads_only_below_the_roots(
    workspace: Workspace, roots: Path, tmp_path: Path
) -> None:
    """However the way out is written; what is outside is not even said to exist."""
    (tmp_path / "outside").mkdir()
    (roots / "link").symlink_to(tmp_path / "outside")
    for path in (
        str(tmp_path / "outside"),
        str(tmp_path / "missing"),
        str(roots / ".." / "outside"),
        str(roots / "link"),
        str(roots) + "-not",
        "relative",
        "",
    ):
        with pytest.raises(PreparationFailed, match="not below a directory"):
            await fetch(workspace, roots, source_type="copy", source_path=path)


async def test_copy_says_what_is_missing_or_no_file(workspace: Workspace, roots: Path) -> None:
    """A pipe would never end."""
    with pytest.raises(PreparationFailed, match="not a directory"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots / "missing"))
    os.mkfifo(roots / "pipe")
    with pytest.raises(PreparationFailed, match="neither a file"):
        await fetch(workspace, roots, source_type="copy", source_path=str(roots))
