"""`reactorcide submit`: submit a job and print its id."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client
from reactorcide.cli.exits import Stop
from reactorcide.cli.job_options import (
    CommandAfterDashes,
    command_of,
    job_of,
    job_options,
    submit_job,
)
from reactorcide.cli.options import client_command, output_option
from reactorcide.cli.output import show_document


@click.command(cls=CommandAfterDashes)
@click.argument("file", required=False)
@job_options
@output_option
@client_command
def submit(
    client: Client,
    file: str | None,
    output: str,
    key: str | None,
    **options: Any,
) -> None:
    """Submit the job in FILE (JSON or YAML with the API's field names, - for standard input), the
    COMMAND after --, or a call of --handler; print its id.

    Options override what the file says.
    """  # noqa: D205  click folds the paragraph
    command = command_of()
    if (file is None) == (command is None) and (file or options["handler"] is None):
        message = "give either a file or a command: reactorcide submit -- echo hello"
        raise click.UsageError(message)
    described = {} if file is None else _read(file)
    job = submit_job(client, {**described, **job_of(command, options)}, key).json()
    if output == "table":
        click.echo(job["job_id"])
    else:
        show_document(output, job)


def _read(file: str) -> dict[str, Any]:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise Stop(exits.USAGE, f"can't read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(exits.USAGE, f"{file} is not UTF-8") from None
    job = _parsed(file, text)
    if not isinstance(job, dict) or not all(isinstance(name, str) for name in job):
        raise Stop(exits.USAGE, f"{file} holds no job: an object with the API's field names")
    return job


def _parsed(file: str, text: str) -> Any:
    """Read JSON, else YAML: what begins like JSON may be YAML all the same."""
    try:
        return json.loads(text)
    except ValueError as not_json:
        if file.endswith(".json"):
            raise Stop(exits.USAGE, f"{file} is not JSON: {not_json}") from None
    import yaml

    class Loader(yaml.SafeLoader):
        """Leaves times as they are written: the API reads them."""

        yaml_implicit_resolvers = {  # noqa: RUF012  as PyYAML wants it
            letter: [(tag, shape) for tag, shape in resolvers if not tag.endswith(":timestamp")]
            for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(text, Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise Stop(exits.USAGE, f"{file} is neither JSON nor YAML: {reason}") from None
