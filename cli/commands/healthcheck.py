"""`reactorcide healthcheck`: whether the API is ready, as an exit code."""

import click

from reactorcide.cli import exits
from reactorcide.cli.client import Client, Refused, Unreachable
from reactorcide.cli.options import read_settings
from reactorcide.cli.output import note


@click.command()
@click.option("--api-url", metavar="URL", help="Where the API is.")
def healthcheck(api_url: str | None) -> None:
    """Exit 0 when the API answers ready, else 1."""
    client = Client(read_settings(api_url=api_url).api_url, None)
    try:
        client.call("GET", "/readyz")
    except Unreachable as error:
        note(f"reactorcide: no answer from {client.url}: {error}")
        exits.end_with(exits.UNHEALTHY)
    except Refused as error:
        note(f"reactorcide: {client.url} is not ready: {error.message}")
        exits.end_with(exits.UNHEALTHY)
    finally:
        client.close()
