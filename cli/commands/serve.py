"""`reactorcide serve`: the API, until it is stopped."""

import click

from reactorcide.cli.early_signals import end_on_signals
from reactorcide.cli.options import database_options, read_settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="[default: 127.0.0.1]")
@click.option("--port", metavar="N", help="0: a free one. [default: 6080]")
@click.option("--fd", type=int, hidden=True, help="A listening socket that was handed down.")
@database_options
def serve(fd: int | None, **flags: str | None) -> None:
    """Serve the API until SIGTERM or SIGINT, then exit 0."""
    from reactorcide.cli.listening import adopt, bind

    settings = read_settings(**flags)
    listening = bind(settings.host, settings.port) if fd is None else adopt(fd)

    end_on_signals()

    import uvloop

    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.cli.logging import configure_logging
    from reactorcide.cli.serving import serve_until_stopped

    configure_logging(settings)
    with told(), database_of(settings) as uri:
        uvloop.run(serve_until_stopped(settings, uri, listening))
