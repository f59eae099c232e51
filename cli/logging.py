"""How the servers' structured logs look: lines for people on a terminal, JSON elsewhere.

All go to standard error, those of the libraries too. One call, at a server's start.
"""

import logging
import sys
from typing import Any, Final

import structlog
from pydantic_core import to_json
from structlog.typing import Processor

from reactorcide.cli.settings import Settings

_QUIET_LIBRARIES: Final = ("uvicorn", "asyncio")


class Forwarding(logging.Handler):
    """Hands what libraries log over to ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it under the library's name."""
        logger = structlog.get_logger(record.name)
        logger.log(
            record.levelno,
            "library_logged",
            library=record.name,
            said=record.getMessage(),
            exc_info=record.exc_info,
        )


def configure_logging(settings: Settings, *before_rendering: Processor) -> None:
    """Let structlog and the standard library's logging write as the settings say."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *before_rendering,
            *_rendering(settings),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[Forwarding()], level=max(level, logging.INFO), force=True)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _rendering(settings: Settings) -> list[Any]:
    is_terminal = sys.stderr.isatty()
    if (settings.log_format or ("console" if is_terminal else "json")) == "console":
        return [
            structlog.dev.ConsoleRenderer(
                colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    renderer = structlog.processors.JSONRenderer(serializer=_json)
    return [structlog.processors.format_exc_info, renderer]


def _json(line: dict[str, Any], **_options: object) -> str:
    """Return a line as JSON; half the price of the standard library's."""
    return to_json(line, fallback=str).decode()
