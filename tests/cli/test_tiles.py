"""The copy of a tree in a directory: C2SP's names, nothing fetched twice, the checkpoint last."""

from pathlib import Path

import pytest

from reactorcide.cli.tiles import CutShortError, write_tree
from reactorcide.eventstore.merkle import TileId, Tree, width_of

LEAVES = b"".join(number.to_bytes(32) for number in range(70_000))


class Log:
    """A log of so many leaves, that counts what it is asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tiles = Tree().append(LEAVES[: 32 * size])
        self.asked: list[tuple[int, int, int]] = []

    def fetch(self, level: int, first: int, count: int) -> bytes:
        """Return the hashes of some tiles."""
        self.asked.append((level, first, count))
        wanted = [TileId(level, first + nth) for nth in range(count)]
        return b"".join([self.tiles.get(tile, b"") for tile in wanted])


def files(directory: Path) -> set[str]:
    """Return the names of all files below a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_the_names_are_those_of_the_format(tmp_path: Path) -> None:
    """Three digits a part, an x before all but the last, partial tiles by their width."""
    log = Log(70_000)
    assert write_tree(tmp_path, 70_000, "note\n", log.fetch) == 277
    found = files(tmp_path)
    assert {"tile/0/000", "tile/0/272", "tile/0/273.p/112", "tile/1/000"} < found
    assert {"tile/1/001.p/17", "tile/2/000.p/1", "checkpoint"} < found
    assert len(found) == 278
    for tile, hashes in log.tiles.items():
        width = width_of(tile, 70_000)
        name = f"tile/{tile.level}/{tile.tile:03d}" + ("" if width == 256 else f".p/{width}")
        assert (tmp_path / name).read_bytes() == hashes


def test_a_thousand_tiles_have_two_parts(tmp_path: Path) -> None:
    """As `x001/000`."""
    (tmp_path / "tile" / "0" / "x001").mkdir(parents=True)
    for tile in range(1000):
        (tmp_path / "tile" / "0" / f"{tile:03d}").touch()

    def fetch(level: int, first: int, count: int) -> bytes:
        assert (level, first, count) in {(0, 1000, 1), (1, 0, 4), (2, 0, 1)}
        return bytes(8192 * count)

    size = 256 * 1000 + 1
    with pytest.raises(FileExistsError) as told:
        write_tree(tmp_path / "tile" / "0" / "000", size, "note\n", fetch)
    assert "000" in str(told.value)
    (tmp_path / "tile" / "1").mkdir()
    write_tree(tmp_path, size, "note\n", fetch)
    assert (tmp_path / "tile" / "0" / "x001" / "000.p" / "1").exists()


def test_whole_tiles_are_fetched_once(tmp_path: Path) -> None:
    """Only what is new, however often the copy is made."""
    write_tree(tmp_path, 600, "first\n", Log(600).fetch)
    newer = Log(1000)
    write_tree(tmp_path, 1000, "second\n", newer.fetch)
    assert newer.asked == [(0, 2, 2), (1, 0, 1)]
    assert (tmp_path / "checkpoint").read_text() == "second\n"


def test_a_tree_that_is_cut_short_has_no_checkpoint(tmp_path: Path) -> None:
    """The old one stays."""
    log = Log(600)
    log.tiles[TileId(0, 2)] = log.tiles[TileId(0, 2)][:-32]
    with pytest.raises(CutShortError):
        write_tree(tmp_path, 600, "note\n", log.fetch)
    assert "checkpoint" not in files(tmp_path)
