"""`reactorcide worker`: run jobs, until it is stopped."""

import click

from reactorcide.cli.early_signals import end_on_signals
from reactorcide.cli.options import PAIR, database_options, read_settings


@click.command()
@click.option(
    "--queue", "queues", multiple=True, metavar="NAME", help="Repeatable. [default: default]"
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Commands at a time. [default: the number of processors]",
)
@click.option("--label", "labels", type=PAIR, multiple=True, metavar="K=V", help="Repeatable.")
@click.option("--name", help="[default: host and process number]")
@click.option(
    "--runner",
    type=click.Choice(["process", "bubblewrap", "container"]),
    default="process",
    show_default=True,
    help="Where commands run: beside the worker, in a sandbox, or in the job's image.",
)
@click.option(
    "--network/--no-network",
    default=True,
    show_default=True,
    help="Whether commands have the network (not for --runner process).",
)
@click.option(
    "--runner-image", metavar="IMAGE", help="For jobs that name none (--runner container)."
)
@click.option(
    "--container-engine",
    type=click.Choice(["podman", "docker"]),
    help="[default: the first that works]",
)
@click.option(
    "--container-option",
    "container_options",
    multiple=True,
    metavar="OPTION",
    help="An option of the engine's `run`, as --memory=1g. Repeatable.",
)
@click.option(
    "--copy-root",
    "copy_roots",
    multiple=True,
    metavar="DIR",
    help="Where local sources may be read. Repeatable.",
)
@click.option(
    "--handlers",
    multiple=True,
    metavar="MODULE",
    help="A Python module, or FILE.py, whose @handler functions run jobs. Repeatable.",
)
@click.option(
    "--drain-seconds",
    metavar="N",
    help="How long what runs may go on after SIGTERM; 0: not at all. [default: 30]",
)
@click.option(
    "--spool-dir",
    metavar="DIR",
    help="Where outcomes are kept while the database is away. [default: DATA_DIR/spool]",
)
@database_options
def worker(
    queues: tuple[str, ...],
    concurrency: int | None,
    labels: tuple[tuple[str, str], ...],
    name: str | None,
    runner: str,
    network: bool,  # noqa: FBT001  an option like the others
    runner_image: str | None,
    container_engine: str | None,
    container_options: tuple[str, ...],
    copy_roots: tuple[str, ...],
    handlers: tuple[str, ...],
    **flags: str | None,
) -> None:
    """Run jobs until SIGTERM or SIGINT: then let what runs end, and exit 0.

    What has not ended after --drain-seconds is stopped and released: its job is queued again and
    no attempt is counted. A second signal does so at once.
    """
    settings = read_settings(**flags, copy_roots=":".join(copy_roots) or None)

    end_on_signals()

    from reactorcide.cli.failures import told
    from reactorcide.cli.local import database_of
    from reactorcide.cli.logging import configure_logging
    from reactorcide.cli.looping import end_with_what_is_left, run_in_loop
    from reactorcide.cli.working import Asked, import_handlers, work_until_stopped
    from reactorcide.worker.handler_log import keep_in_job_log
    from reactorcide.worker.runners import WallSettings

    walls = WallSettings(network, runner_image, container_engine, container_options)
    asked = Asked(queues or ("default",), concurrency, dict(labels), name, runner, handlers, walls)
    configure_logging(settings, keep_in_job_log)
    import_handlers(handlers)
    with told(), database_of(settings) as uri:
        is_clean = run_in_loop(work_until_stopped(settings, uri, asked))
    if not is_clean:
        end_with_what_is_left()
