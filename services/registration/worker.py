"""Registration's worker: publishes its events, applies identity's messages, keeps views up to date."""

import structlog

from registration.bootstrap import open_service, worker_tasks
from registration.settings import Settings
from shared.platform.lifecycle import stop_signals, supervise

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Run all tasks until SIGTERM or SIGINT, then finish the work in progress."""
    with stop_signals() as stopping:
        async with open_service(settings) as service:
            tasks = worker_tasks(service)
            log.info("worker.ready", tasks=sorted(tasks))
            await supervise(tasks, stopping)
    log.info("worker.stopped")
