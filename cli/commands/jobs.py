"""`reactorcide jobs`: list jobs, look into them, stop and repeat them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client, segment
from reactorcide.cli.options import PAIR, client_command, output_option, page_options
from reactorcide.cli.output import cell, show_changes, show_list, show_record

COLUMNS: Final = (
    "job_id",
    "status",
    "name",
    "queue_name",
    "attempt",
    "exit_code",
    "created_at",
)
EVENT_COLUMNS: Final = ("version", "recorded_at", "type", "actor", "data")
ATTEMPT_COLUMNS: Final = (
    "attempt",
    "worker_id",
    "claimed_at",
    "started_at",
    "ended_at",
    "outcome",
    "exit_code",
    "error",
)
FINAL: Final = frozenset({"completed", "failed", "cancelled", "timeout"})

_WATCH_SECONDS: Final = 0.5


@click.group()
def jobs() -> None:
    """List jobs, look into them, stop and repeat them."""


@jobs.command("list")
@click.option("--status", help="Of this status only.")
@click.option("--queue", "queue_name", metavar="NAME", help="Of this queue only.")
@click.option("--user", "user_id", metavar="USER_ID", help="Of this user only.")
@click.option("--source-type", help="Of this kind of source only: none, git, copy.")
@click.option("--label", type=PAIR, multiple=True, metavar="K=V", help="Repeatable.")
@click.option("--created-after", metavar="TIME", help="RFC 3339, as in 2026-01-31T12:00:00Z.")
@click.option("--created-before", metavar="TIME")
@click.option("-q", "--search", "q", metavar="TEXT", help="Of a name that holds this.")
@page_options
@click.option("--at", metavar="MOMENT", help="As of a past time (RFC 3339) or position.")
@output_option
@client_command
def list_jobs(
    client: Client, output: str, label: tuple[tuple[str, str], ...], **query: Any
) -> None:
    """List jobs, newest first; with --at those that there were, as they stood."""
    labels = {f"label.{key}": value for key, value in label}
    show_list(output, client.get("/jobs", {**query, **labels}), "jobs", COLUMNS)


@jobs.command()
@click.argument("job")
@output_option
@client_command
def get(client: Client, job: str, output: str) -> None:
    """Show JOB as it stands now."""
    show_record(output, client.get(_path(job)))


@jobs.command()
@click.argument("job")
@output_option
@client_command
def cancel(client: Client, job: str, output: str) -> None:
    """Stop JOB: TERM, and KILL ten seconds later."""
    _show_command(output, client.call("POST", f"{_path(job)}/cancel").json())


@jobs.command()
@click.argument("job")
@output_option
@client_command
def kill(client: Client, job: str, output: str) -> None:
    """Stop JOB at once (operators and admins)."""
    _show_command(output, client.call("POST", f"{_path(job)}/kill").json())


@jobs.command()
@click.argument("job")
@output_option
@client_command
def retry(client: Client, job: str, output: str) -> None:
    """Submit JOB, which has ended, again; print the new job's id."""
    again = client.call("POST", f"{_path(job)}/retry").json()
    if output == "table":
        click.echo(again["job_id"])
    else:
        show_record(output, again)


@jobs.command()
@click.argument("job")
@client_command
def delete(client: Client, job: str) -> None:
    """Take JOB, which has ended, off every list. Its events stay."""
    client.call("DELETE", _path(job))


@jobs.command()
@click.argument("job")
@output_option
@client_command
def events(client: Client, job: str, output: str) -> None:
    """Show what happened to JOB: when, and who caused it."""
    show_events(output, client.get(f"{_path(job)}/events"))


@jobs.command()
@click.argument("job")
@output_option
@client_command
def attempts(client: Client, job: str, output: str) -> None:
    """Show each attempt at JOB: its worker, times, exit code and outcome."""
    show_list(output, client.get(f"{_path(job)}/attempts"), "attempts", ATTEMPT_COLUMNS)


@jobs.command()
@click.argument("job")
@output_option
@client_command
def explain(client: Client, job: str, output: str) -> None:
    """Say why JOB is not running."""
    explained = client.get(f"{_path(job)}/explain")
    show_list(output, explained, "reasons", ("code", "message"))


@jobs.command()
@click.argument("job")
@click.option(
    "--at",
    required=True,
    metavar="MOMENT",
    help="RFC 3339, as in 2026-01-31T12:00:00Z, or an event's position.",
)
@output_option
@client_command
def state(client: Client, job: str, at: str, output: str) -> None:
    """Show JOB as it stood at a past moment."""
    show_record(output, client.get(_path(job), {"at": at}))


@jobs.command()
@click.argument("job")
@click.option("--from", "before", metavar="VERSION", help="[default: the one before --to]")
@click.option("--to", "after", metavar="VERSION", help="[default: the latest]")
@output_option
@client_command
def diff(client: Client, job: str, before: str | None, after: str | None, output: str) -> None:
    """Show what changed in JOB from one version to another; `jobs events` lists them."""
    show_changes(output, client.get(f"{_path(job)}/diff", {"from": before, "to": after}))


@jobs.command()
@click.argument("job")
@client_command
def watch(client: Client, job: str) -> None:
    """Print what happens to JOB until it has ended; exit with its outcome."""
    for event in _events_until_end(client, job):
        row = _shown(event)
        click.echo("\t".join(cell(row[column]) for column in EVENT_COLUMNS))
    ended = client.get(_path(job))
    exits.end_with(exits.code_of_job(ended["status"], ended["exit_code"]))


def show_events(output: str, envelope: Mapping[str, Any]) -> None:
    """Show events as a list, with the actor in one word in the table."""
    if output == "table":
        envelope = {"events": [_shown(event) for event in envelope["events"]]}
    show_list(output, envelope, "events", EVENT_COLUMNS)


def _events_until_end(client: Client, job: str) -> Iterator[Mapping[str, Any]]:
    seen = 0
    while True:
        # The status first: what ended it is then among the events that follow.
        status = client.get(_path(job))["status"]
        happened = client.get(f"{_path(job)}/events")["events"]
        yield from happened[seen:]
        seen = len(happened)
        if status in FINAL:
            return
        time.sleep(_WATCH_SECONDS)


def _shown(event: Mapping[str, Any]) -> dict[str, Any]:
    actor = event["actor"]
    who = " ".join(str(part) for part in (actor["type"], actor.get("name") or actor["id"]) if part)
    return {**event, "actor": who}


def _show_command(output: str, job: Mapping[str, Any]) -> None:
    if output == "table":
        show_list(output, {"jobs": [job]}, "jobs", COLUMNS)
    else:
        show_record(output, job)


def _path(job: str) -> str:
    return f"/jobs/{segment(job)}"
