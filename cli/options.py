"""What commands share: where the API and the database are, how to show, how to read settings."""

import functools
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from reactorcide.cli import durations, exits, output, settings
from reactorcide.cli.exits import Stop
from reactorcide.cli.settings import SettingError, Settings

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[int]):
    """90s, 15m, 12h, 30d; converted to seconds. A bare number is seconds where that is allowed."""

    name = "duration"

    def __init__(self, *, bare_is_seconds: bool = False) -> None:
        self._bare_is_seconds = bare_is_seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds."""
        if isinstance(value, int):
            return value
        text = str(value)
        if self._bare_is_seconds and text.isascii() and text.isdigit():
            text += "s"
        try:
            return durations.seconds_in(text)
        except ValueError as error:
            self.fail(f"{value!r} is no duration, allowed: {error}", param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """KEY=VALUE; converted to a tuple of both. The value may be empty, the key may not."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return key and value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


DURATION: Final = Duration()
SECONDS: Final = Duration(bare_is_seconds=True)
PAIR: Final = Pair()

output_option: Final = click.option(
    "-o",
    "--output",
    type=click.Choice(output.FORMATS),
    default="table",
    help="A table (tab-separated when piped), JSON or YAML.",
)

limit_option: Final = click.option("--limit", type=click.IntRange(1, 200), help="[default: 50]")
_offset_option: Final = click.option("--offset", type=click.IntRange(min=0))
cursor_option: Final = click.option("--cursor", help="The last page's next_cursor.")


def page_options(function: F) -> F:
    """Add which part of a list, by number or by cursor: `limit`, `offset` and `cursor`."""
    return limit_option(_offset_option(cursor_option(function)))


def read_settings(**flags: str | None) -> Settings:
    """Return the settings of this process; `flags` by their variables' names in small letters."""
    try:
        return settings.load(os.environ, {name.upper(): text for name, text in flags.items()})
    except SettingError as error:
        raise Stop(exits.USAGE, str(error)) from None


def client_command(function: F) -> F:
    """Give the function a Client as its first argument; tell its failures by exit codes."""
    from reactorcide.cli.client import Client, Unreachable

    @click.option("--api-url", metavar="URL", help="Where the API is.")
    @click.option("--api-token", metavar="TOKEN", help="Better in REACTORCIDE_API_TOKEN.")
    @functools.wraps(function)
    def with_client(
        *args: Any, api_url: str | None, api_token: str | None, **parameters: Any
    ) -> Any:
        chosen = read_settings(api_url=api_url, api_token=api_token)
        client = Client(chosen.api_url, chosen.api_token)
        try:
            return function(client, *args, **parameters)
        except Unreachable as error:
            raise Stop(
                exits.UNAVAILABLE,
                f"no answer from {client.url}: {error}",
                "start it with `reactorcide up`, or set REACTORCIDE_API_URL",
            ) from None
        finally:
            client.close()

    return with_client  # type: ignore[return-value]  # click calls it by keywords


def database_options(function: F) -> F:
    """Add where the database is; the function gets `db_uri` and `data_dir`."""
    data_dir = click.option("--data-dir", metavar="DIR", help="For an embedded PostgreSQL's data.")
    db_uri = click.option("--db-uri", metavar="URI", help="Better in REACTORCIDE_DB_URI.")
    return db_uri(data_dir(function))
