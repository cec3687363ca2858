"""Registration's worker: publishes its events, applies identity's messages, keeps views up to date."""

import structlog

from registration.bootstrap import open_service, worker_http_app, worker_tasks
from registration.settings import Settings
from shared.platform.lifecycle import Supervisor, stop_signals, until_stopped
from shared.web.server import serve

log = structlog.get_logger(__name__)


async def work(settings: Settings) -> None:
    """Run all tasks until SIGTERM or SIGINT, then finish the work in progress.

    Raises OSError when the port for health and metrics is in use.
    """
    with stop_signals() as stopping:
        async with open_service(settings) as service:
            tasks = worker_tasks(service)
            supervisor = Supervisor(tasks)
            app = worker_http_app(service, supervisor)
            log.info("worker.ready", tasks=sorted(tasks))
            serving = serve(app, settings.host, settings.worker_port, stopping, settings.http_limits)
            await until_stopped(stopping, supervisor.run(stopping), serving)
    log.info("worker.stopped")
