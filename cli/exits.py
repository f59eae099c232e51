"""What the command's exit codes mean, and the one way to end with one.

Nothing here prints but `Stop.show`, one line on standard error.
"""

from typing import IO, Any, Final, NoReturn

import click

DONE: Final = 0
JOB_FAILED: Final = 1
UNHEALTHY: Final = 1
UNEQUAL: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
DENIED: Final = 4
NOT_FOUND: Final = 5
CONFLICT: Final = 6
RATE_LIMITED: Final = 7
GAVE_UP: Final = 8
JOB_CANCELLED: Final = 9
JOB_TIMED_OUT: Final = 10
INTERRUPTED: Final = 130


class Stop(click.ClickException):
    """End the command with `exit_code`, after a line that says why and lines of `hints`."""

    def __init__(self, exit_code: int, reason: str, *hints: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code  # type: ignore[misc]  # click keeps one for each class
        self.hints = hints

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the reason and the hints to standard error."""
        click.echo(f"reactorcide: {self.message}", file=file, err=True)
        for hint in self.hints:
            click.echo(f"  {hint}", file=file, err=True)


def end_with(exit_code: int) -> NoReturn:
    """End the command with a code and without a word."""
    click.get_current_context().exit(exit_code)


def code_of_job(status: str, exit_code: int | None, *, propagate: bool = False) -> int:
    """Return the exit code for a job that ended in `status`.

    With `propagate` a failed job's own code, where it has one.
    """
    match status:
        case "completed":
            return DONE
        case "cancelled":
            return JOB_CANCELLED
        case "timeout":
            return JOB_TIMED_OUT
        case _:
            return (exit_code or JOB_FAILED) if propagate else JOB_FAILED
