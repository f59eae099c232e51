"""The API as a process: settings in, requests answered, until a signal ends it."""

import asyncio
import signal
import socket

import structlog

from reactorcide.api.client_address import parse_networks
from reactorcide.api.limits import Rate
from reactorcide.api.server import ApiServer
from reactorcide.api.services import open_services
from reactorcide.api.settings import ApiSettings
from reactorcide.cli.garbage import tune_gc
from reactorcide.cli.listening import url_of
from reactorcide.cli.local import log_key_of, secret_key_of
from reactorcide.cli.settings import Settings
from reactorcide.migrations.schema import check_schema

GRACE_SECONDS = 3

log = structlog.get_logger("reactorcide.cli")


class _Signals:
    """SIGTERM and SIGINT: they end the start-up, later the server, in good order."""

    def __init__(self) -> None:
        self.server: ApiServer | None = None
        self._task = asyncio.current_task()
        self.came = False
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._take, number)

    def _take(self, number: int) -> None:
        self.came = True
        if self.server is not None:
            self.server.handle_exit(number, None)
        elif self._task is not None:
            self._task.cancel()


async def serve_until_stopped(
    settings: Settings, database_uri: str, listening: socket.socket
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises MigrationError when the schema is another version's, and DatabaseUnavailable.
    """
    signals = _Signals()
    try:
        await check_schema(database_uri)
        async with open_services(_api_settings(settings, database_uri)) as services:
            signals.server = ApiServer(services, GRACE_SECONDS)
            tune_gc()
            log.info("api_started", url=url_of(listening))
            await signals.server.serve([listening])
    except asyncio.CancelledError:
        if not signals.came:
            raise
    log.info("api_stopped")


def _api_settings(settings: Settings, database_uri: str) -> ApiSettings:
    limit = settings.rate_limit
    return ApiSettings(
        database_uri=database_uri,
        secret_key=secret_key_of(settings),
        log_key=log_key_of(settings),
        rate_limit=Rate(limit.requests, limit.seconds) if limit else None,
        object_store_url=settings.object_store_url,
        trusted_proxies=parse_networks(settings.trusted_proxies),
    )
