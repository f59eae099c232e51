"""The `reactorcide` command: its table of commands, and what every way to end becomes.

Imports click and nothing heavier: each command's module is imported when it is called.
"""

import sys
from typing import Final

import click

from reactorcide.cli.exits import INTERRUPTED
from reactorcide.cli.lazy import LazyGroup

_AT: Final = "reactorcide.cli.commands"

COMMANDS: Final = {
    "up": (f"{_AT}.up:up", "Start everything on this machine, and stay."),
    "demo": (f"{_AT}.demo:demo", "Start everything, run one real job, show it, and stop."),
    "serve": (f"{_AT}.serve:serve", "Serve the API."),
    "worker": (f"{_AT}.worker:worker", "Run jobs."),
    "migrate": (f"{_AT}.migrate:migrate", "Bring the database's schema up, down, or show it."),
    "healthcheck": (f"{_AT}.healthcheck:healthcheck", "Exit 0 when the API answers ready, else 1."),
    "projections": (
        f"{_AT}.projections:projections",
        "Run, list, rebuild and verify the read tables.",
    ),
    "user": (f"{_AT}.user:user", "Create users, show them, change their roles."),
    "token": (f"{_AT}.token:token", "Create tokens, show, revoke, rotate and check them."),
    "run": (f"{_AT}.run:run", "Submit a command, follow its log, exit with its outcome."),
    "submit": (f"{_AT}.submit:submit", "Submit a job and print its id."),
    "jobs": (f"{_AT}.jobs:jobs", "List jobs, look into them, stop and repeat them."),
    "logs": (f"{_AT}.logs:logs", "Print what a job printed."),
    "artifacts": (f"{_AT}.artifacts:artifacts", "List and fetch what a job left."),
    "events": (f"{_AT}.events:events", "Follow all that happens."),
    "queues": (f"{_AT}.queues:queues", "Count the jobs of each queue that have not ended."),
    "audit": (f"{_AT}.audit:audit", "List what happened; seal it, verify it, take it along."),
    "archive": (f"{_AT}.archive:archive", "Move what ended long ago to the object store."),
    "completion": (f"{_AT}.completion:completion", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup, commands_at=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="reactorcide", prog_name="reactorcide")
def cli() -> None:
    """Submit commands, run them on workers, see and prove what happened."""


def main() -> None:
    """Run the command; end with the contract's exit codes and never with a traceback."""
    try:
        code = cli.main(prog_name="reactorcide", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
