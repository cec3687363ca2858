"""Log lines with a constant `action` and ids: JSON for machines, coloured on a terminal.

`log.info("guest.registered", guest_id=…)`: an action is `noun.verb`. Nothing personal, no prose to parse.
"""

import logging
import sys

import stamina
import structlog

from shared.kernel.text import visible


def configure_logging(service: str, level: str = "INFO") -> None:
    """Send structlog's and the standard library's records to stderr in one form. Call it once per process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
        structlog.processors.EventRenamer("action"),
    ]
    structlog.configure(
        processors=[*shared[:-1], structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_ending()],
            foreign_pre_chain=shared[:-1],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(level.upper())
    stamina.instrumentation.set_on_retry_hooks([])  # `retry` logs what failed, under an action of its own
    # httpx2 logs whole addresses, and an address may hold a query string.
    for noisy in ("httpx2", "httpcore2", "aiormq", "aio_pika", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _ending() -> list[structlog.typing.Processor]:
    if sys.stderr.isatty():  # JSON escapes by itself what would drive a terminal
        return [_visible, structlog.dev.ConsoleRenderer()]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("action"),
        structlog.processors.JSONRenderer(),
    ]


def _visible(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: visible(value) if isinstance(value, str) else value for name, value in event.items()}


def _named(service: str) -> structlog.typing.Processor:
    def add_service(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add_service
