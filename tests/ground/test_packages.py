"""What is handed out: a wheel that takes one name, the same from the source archive."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = {"api", "cli", "eventstore", "migrations", "projections", "worker"}


def build(source: Path, target: str, into: Path) -> Path:
    """Build a wheel or an sdist, and return the file."""
    into.mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", into],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    return build(ROOT, "wheel", tmp_path_factory.mktemp("packages") / "wheel")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive."""
    return build(ROOT, "sdist", tmp_path_factory.mktemp("packages") / "sdist")


def names(wheel: Path) -> set[str]:
    """Return the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_a_wheel_takes_one_name(wheel: Path) -> None:
    """Nothing of ours can lie over another package's `api` or `migrations`."""
    top_level = {name.split("/")[0] for name in names(wheel)}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"reactorcide"}
    rooms = {name.split("/")[1] for name in names(wheel) if name.startswith("reactorcide/")}
    assert rooms == ROOMS


def test_a_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    """The SQL, what the pages are made of and the types' marker among them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--", *sorted(ROOMS)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    expected = {f"reactorcide/{name}" for name in listed if name and (ROOT / name).exists()}
    assert expected <= names(wheel)
    assert "reactorcide/migrations/0001.create-events.sql" in expected


def test_a_wheel_says_that_it_is_typed(wheel: Path) -> None:
    """Every room, since the name over them is a namespace that can say nothing (PEP 561)."""
    assert {f"reactorcide/{room}/py.typed" for room in ROOMS} <= names(wheel)


def test_a_wheel_from_the_source_archive_is_the_same(
    wheel: Path, sdist: Path, tmp_path: Path
) -> None:
    """Whoever builds it from there has what we have."""
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    (source,) = tmp_path.iterdir()
    again = build(source, "wheel", tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            assert one.read(name) == other.read(name), name


def test_a_source_archive_has_no_way_back_into_itself(sdist: Path) -> None:
    """The link that makes the folders importable here stays here."""
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym() or "/.ns/" in member.name]


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-s3.lock",
        "requirements-tlog.lock",
    ],
)
def test_a_lock_knows_nothing_of_the_machine_that_made_it(lock: str) -> None:
    """Versions and digests alone: no index, no folder, no address."""
    lines = (ROOT / lock).read_text().splitlines()
    for line in lines:
        entry = line.strip()
        assert entry.startswith(("#", "--hash=sha256:")) or "==" in entry, line
        assert "://" not in entry
    assert sum("==" in line for line in lines) > 20


def test_the_locks_agree() -> None:
    """What is developed with is what is installed."""
    runtime, everything = (
        dict(
            line.split("==", maxsplit=1)
            for line in (ROOT / name).read_text().splitlines()
            if "==" in line and not line.startswith(("#", " "))
        )
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime.items() <= {name: everything.get(name) for name in runtime}.items()
