"""Identity's worker: hears what happened to guests, and tells registration what became of links."""

import structlog

from identity.bootstrap import open_service, worker_tasks
from identity.settings import Settings
from shared.platform.lifecycle import stop_signals, supervise

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then end what is in hand."""
    with stop_signals() as stopping:
        async with open_service(settings) as service:
            tasks = worker_tasks(service)
            log.info("worker_ready", tasks=sorted(tasks))
            await supervise(tasks, stopping)
    log.info("worker_stopped")
