"""Help, completion, and what a client command does not import."""

import resource
import subprocess
import sys
from typing import Final

import pytest

from reactorcide.cli.main import COMMANDS
from reactorcide.tests.cli.program import COMMAND, Program

HEAVY: Final = ("pydantic", "asyncpg", "starlette", "rich", "yaml", "ssl", "email", "structlog")
CLIENTS: Final = (
    "run",
    "submit",
    "jobs",
    "logs",
    "events",
    "queues",
    "audit",
    "token",
    "user",
    "healthcheck",
)


def test_help_comes_at_once(program: Program) -> None:
    """In processor time, the best of some runs: others use this machine too. Alone it is 0.1 s."""
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*COMMAND, "--help"], env=program.environment, check=True, timeout=30)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 0.5


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_command_imports_nothing_heavy(program: Program, name: str) -> None:
    """What it imports is time before its first line."""
    code = (
        "import sys\nfrom reactorcide.cli.main import cli\n"
        f"cli.main([{name!r}, '--help'], standalone_mode=False)\n"
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=program.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(program: Program, name: str) -> None:
    """The table's modules and attributes exist."""
    done = program(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: reactorcide {name}")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(program: Program, shell: str) -> None:
    """The script asks the command itself."""
    done = program("completion", shell)
    assert done.returncode == 0
    assert "_REACTORCIDE_COMPLETE" in done.stdout


def test_completion_knows_commands_below_commands(program: Program) -> None:
    """`reactorcide jobs ca<TAB>`."""
    asking = Program(
        program.home,
        {
            "_REACTORCIDE_COMPLETE": "bash_complete",
            "COMP_WORDS": "reactorcide jobs ca",
            "COMP_CWORD": "2",
        },
    )
    assert "cancel" in asking().stdout


def test_an_unknown_command_is_a_usage_error(program: Program) -> None:
    """Exit 2, on standard error."""
    done = program("fly")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "fly" in done.stderr


def test_the_version_is_told(program: Program) -> None:
    """For reports of bugs."""
    assert program("--version").stdout.startswith("reactorcide, version ")
