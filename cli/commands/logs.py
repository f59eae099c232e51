"""`reactorcide logs`: print what a job printed."""

import sys
from typing import Any

import click

from reactorcide.cli.client import Client, segment
from reactorcide.cli.following import Follower
from reactorcide.cli.options import client_command


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines only.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="One of the two only.")
@click.option("--attempt", metavar="N|all", help="[default: the latest]")
@client_command
def logs(client: Client, job: str, *, follow: bool, **query: Any) -> None:
    """Print what JOB printed, byte for byte, both streams to standard output."""
    if follow:
        Follower(client, job, lambda _stream, data: _write(data), query=query).run()
        return
    for piece in client.stream(
        f"/jobs/{segment(job)}/logs", query=query, headers={"Accept": "text/plain"}
    ):
        _write(piece)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
