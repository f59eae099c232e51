"""What the tests of migrations share: a folder of migrations of its own."""

from pathlib import Path

import pytest


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two migrations of its own."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "0001.one.sql").write_text("CREATE TABLE one (n integer);")
    (folder / "0001.one.rollback.sql").write_text("DROP TABLE one;")
    (folder / "0002.two.sql").write_text("-- depends: 0001.one\nCREATE TABLE two (n integer);")
    (folder / "0002.two.rollback.sql").write_text("DROP TABLE two;")
    return folder
