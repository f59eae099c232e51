"""`reactorcide demo`: start everything, run one real job, show it, and stop."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
from reactorcide.cli.commands.run import write
from reactorcide.cli.exits import Stop
from reactorcide.cli.following import Ended, Follower
from reactorcide.cli.options import database_options, read_settings
from reactorcide.cli.output import note

if TYPE_CHECKING:
    from reactorcide.cli.children import Signals
    from reactorcide.cli.settings import Settings


@click.command()
@database_options
def demo(**flags: str | None) -> None:
    """Start everything, build and test a small package as a job, show its log and its events.

    Leaves nothing running and exits with the job's code. Uses the data dir, or a temporary one
    while `reactorcide up` runs on that; always a free port.
    """
    from reactorcide.cli.children import StopAsked, stop_signals

    settings = read_settings(**flags)
    os.environ.setdefault("REACTORCIDE_LOG_LEVEL", "warning")
    try:
        with stop_signals() as signals:
            ended = _show(settings, signals)
    except StopAsked:
        raise Stop(exits.INTERRUPTED, "interrupted") from None
    note("stopped; nothing is left running")
    exits.end_with(exits.code_of_job(ended.status, ended.exit_code, propagate=True))


def _show(settings: "Settings", signals: "Signals") -> Ended:
    """Start everything, run the job, stop everything."""
    from reactorcide.cli.listening import bind
    from reactorcide.cli.stack import Plan, running_stack

    queue = f"demo-{os.getpid()}"  # of its own: jobs that wait in the data dir stay there
    with _data_dir(settings) as chosen, bind("127.0.0.1", 0) as listening:
        plan = Plan(chosen, listening, keeps_url=False, worker_flags=("--queue", queue))
        with running_stack(plan, signals, note) as stack:
            note(f"the API answers at {stack.url}")
            client = Client(stack.url, stack.credentials.token)
            ended = _run_job(client, queue)
            client.close()
    return ended


@contextlib.contextmanager
def _data_dir(settings: "Settings") -> "Iterator[Settings]":
    """Lend the data dir, or a temporary one while an `up` runs there."""
    from reactorcide.cli.stack import is_in_use

    if not is_in_use(settings.data_dir):
        note(f"data are in {settings.data_dir}")
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="reactorcide-demo-") as folder:
        note(f"`reactorcide up` runs on {settings.data_dir}: this demo uses {folder}")
        yield settings._replace(data_dir=Path(folder))


def _run_job(client: Client, queue: str) -> Ended:
    script = files("reactorcide.cli").joinpath("demo/build-and-test.sh").read_text("utf-8")
    asked = {
        "name": "demo: build and test",
        "description": "Build a small Python package and run its tests.",
        "job_command": script,
        "queue_name": queue,
        "timeout_seconds": 120,
    }
    job = client.call("POST", "/jobs", body=asked).json()
    note(f"submitted job {job['job_id']}; its log, as it is printed:\n")
    ended = Follower(client, job["job_id"], write).run()
    note(f"\nthe job is {ended.status}, exit code {ended.exit_code}; what happened to it:\n")
    me = client.get("/me")["user"]
    events = client.get(f"/jobs/{job['job_id']}/events")["events"]
    _show_events(events, {me["user_id"]: me["username"]})
    return ended


def _show_events(events: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    began = datetime.fromisoformat(events[0]["recorded_at"])
    rows = [("TIME", "AFTER", "EVENT", "ACTOR")]
    for event in events:
        at, actor = datetime.fromisoformat(event["recorded_at"]), event["actor"]
        who = " ".join(filter(None, (actor["type"], names.get(actor["id"], actor["id"]))))
        after = f"{(at - began).total_seconds():.3f} s"
        rows.append((at.strftime("%H:%M:%S.%f")[:-3], after, event["type"], who))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
    click.echo()
