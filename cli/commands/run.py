"""`reactorcide run`: submit, follow the log, exit with the outcome."""

import sys
import time
from typing import Any

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client, Unreachable
from reactorcide.cli.exits import Stop
from reactorcide.cli.following import Ended, Follower, GaveUpError
from reactorcide.cli.job_options import (
    CommandAfterDashes,
    command_of,
    job_of,
    job_options,
    submit_job,
)
from reactorcide.cli.options import client_command
from reactorcide.cli.output import note


@click.command(cls=CommandAfterDashes)
@job_options
@click.option("--wait-seconds", type=click.FloatRange(min=0), help="Then stop waiting, exit 8.")
@click.option("--propagate-exit", is_flag=True, help="Exit with a failed job's own code.")
@client_command
def run(
    client: Client,
    wait_seconds: float | None,
    *,
    propagate_exit: bool,
    key: str | None,
    **options: Any,
) -> None:
    """Submit COMMAND (or a call of --handler), print what it prints, exit with its outcome.

    Exit codes: 0 completed, 1 failed, 8 gave up waiting, 9 cancelled, 10 timed out, 130 interrupted
    (the job goes on).
    """
    command = command_of()
    if command is None and options["handler"] is None:
        message = "put the command after --: reactorcide run -- echo hello"
        raise click.UsageError(message)
    deadline = None if wait_seconds is None else time.monotonic() + wait_seconds
    job = submit_job(client, job_of(command, options), key).json()
    ended = _await_end(client, job["job_id"], deadline)
    if ended.status != "completed":
        code = "" if ended.exit_code is None else f" with exit code {ended.exit_code}"
        note(f"reactorcide: job {job['job_id']} ended: {ended.status}{code}")
    exits.end_with(exits.code_of_job(ended.status, ended.exit_code, propagate=propagate_exit))


def _await_end(client: Client, job_id: str, deadline: float | None) -> Ended:
    goes_on = (
        f"follow it: reactorcide logs {job_id} --follow",
        f"stop it:   reactorcide jobs cancel {job_id}",
    )
    try:
        return Follower(client, job_id, write, deadline=deadline).run()
    except GaveUpError:
        raise Stop(
            exits.GAVE_UP, f"gave up waiting for job {job_id}; it goes on", *goes_on
        ) from None
    except KeyboardInterrupt:
        raise Stop(exits.INTERRUPTED, f"interrupted; job {job_id} goes on", *goes_on) from None
    except Unreachable as error:
        raise Stop(
            exits.UNAVAILABLE, f"lost the API: {error}; job {job_id} goes on", *goes_on
        ) from None


def write(stream: str, data: bytes) -> None:
    """Print at once what a command printed, byte for byte, to the stream it printed it to."""
    out = sys.stderr.buffer if stream == "stderr" else sys.stdout.buffer
    out.write(data)
    out.flush()
