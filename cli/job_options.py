"""What `run` and `submit` have in common: a job out of options and what follows `--`."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Answer, Client
from reactorcide.cli.exits import Stop
from reactorcide.cli.options import PAIR, SECONDS

F = TypeVar("F", bound=Callable[..., Any])

_COMMAND: Final = "reactorcide.command"
_NAME_LETTERS: Final = 80

_OPTIONS: Final = (
    click.option("--name", help="[default: the command's first line, or the handler]"),
    click.option("--handler", metavar="NAME", help="Call a worker's function, no command."),
    click.option("--args", metavar="JSON", help="The handler's arguments. [default: null]"),
    click.option("--queue", metavar="NAME", help="[default: default]"),
    click.option("--priority", type=int, help="Higher first; -1000 to 1000. [default: 0]"),
    click.option("--timeout", type=SECONDS, metavar="SECONDS", help="[default: 3600]"),
    click.option("--max-attempts", type=int, metavar="N", help="[default: 1]"),
    click.option("--env", type=PAIR, multiple=True, metavar="K=V", help="Repeatable."),
    click.option(
        "--secret-env",
        multiple=True,
        metavar="K",
        help="Never show this variable's value; without --env K=V it is taken from here.",
    ),
    click.option("--label", type=PAIR, multiple=True, metavar="K=V", help="Repeatable."),
    click.option("--key", metavar="IDEMPOTENCY_KEY", help="Submit only once with this key."),
)


class CommandAfterDashes(click.Command):
    """A command that takes what follows `--` as the job's command, untouched."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows the first `--` aside."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show it in the usage line."""
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


def job_options(function: F) -> F:
    """Add the options that describe a job."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def command_of() -> str | None:
    """Return the shell command after `--`; None without one.

    One argument is a command as it stands, several are quoted and joined.
    """
    words: tuple[str, ...] | None = click.get_current_context().meta.get(_COMMAND)
    if words is None:
        return None
    command = words[0] if len(words) == 1 else _joined(words)
    if not command.strip():
        message = "there is no command after --"
        raise click.UsageError(message)
    return command


def job_of(command: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the job that the options name.

    With a command and a handler both, or neither, it is for the API to say what is wrong.
    """
    variables = dict(options["env"])
    fields = {
        "job_command": command,
        "handler": options["handler"],
        "args": _args_of(options["args"]),
        "name": options["name"] or (command and _name_of(command)) or options["handler"],
        "queue_name": options["queue"],
        "priority": options["priority"],
        "timeout_seconds": options["timeout"],
        "max_attempts": options["max_attempts"],
        "job_env_vars": {**variables, **_from_here(options["secret_env"], variables)} or None,
        "secret_env_vars": list(options["secret_env"]) or None,
        "labels": dict(options["label"]) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def submit_job(client: Client, job: Mapping[str, Any], key: str | None) -> Answer:
    """Submit it; a request that breaks off is repeated and still submits one job."""
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) < 256):  # noqa: PLR2004
        raise Stop(
            exits.USAGE, f"--key={key!r} can't be used, allowed: 1 to 255 of printable ASCII"
        )
    return client.call(
        "POST", "/jobs", body=job, headers={"Idempotency-Key": key or os.urandom(16).hex()}
    )


def _args_of(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise Stop(exits.USAGE, f"--args is not JSON: {error}") from None


def _from_here(names: tuple[str, ...], given: Mapping[str, str]) -> dict[str, str]:
    """Return secret variables of our own environment: a value in argv is everybody's to read."""
    missing = [name for name in names if name not in given and name not in os.environ]
    if missing:
        raise Stop(
            exits.USAGE,
            f"--secret-env {missing[0]}: neither --env {missing[0]}=… nor in the environment",
        )
    return {name: os.environ[name] for name in names if name not in given}


def _joined(words: tuple[str, ...]) -> str:
    import shlex

    return shlex.join(words)


def _name_of(command: str) -> str:
    first = next(line.strip() for line in command.splitlines() if line.strip())
    printable = "".join(letter for letter in first if letter.isprintable())
    return printable[:_NAME_LETTERS] or "job"
