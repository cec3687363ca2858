"""What the messaging counts, for /metrics. Every failure is counted: waiting, parked and diverged.

A page shows only the figures of its own process, and those that are read from the database. So there is a
registry for each kind of process; a counter that another process counts would be 0 without end.
"""

from collections.abc import Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

IN_WORKER = CollectorRegistry()
"""Counted by every worker."""
IN_WORKER_WITH_BROKER = CollectorRegistry()
"""Counted by a worker whose transport is RabbitMQ."""
WITH_BROKER = CollectorRegistry()
"""Read from the database by every process, when the transport is RabbitMQ."""

published = Counter(
    "messages_published", "Messages that the broker confirmed", registry=IN_WORKER_WITH_BROKER
)
publish_failures = Counter(
    "messages_publish_failures",
    "Times that the relay lost the broker or the log",
    registry=IN_WORKER_WITH_BROKER,
)
rejected = Counter(
    "messages_rejected",
    "Messages that were not authentic: raise an alarm",
    registry=IN_WORKER_WITH_BROKER,
)

received = Counter(
    "messages_received", "Messages received, from queues and feed together", registry=IN_WORKER
)
dropped = Counter(
    "messages_dropped", "Messages that were dropped because they had been applied before", registry=IN_WORKER
)
waiting = Counter(
    "messages_waiting",
    "Times that a guest's messages had to wait for something unavailable",
    registry=IN_WORKER,
)
parked = Counter(
    "messages_parked", "Times that a message failed and its guest was parked", registry=IN_WORKER
)
diverged = Counter(
    "messages_diverged",
    "Known versions that came again and said something else: raise an alarm",
    registry=IN_WORKER,
)
unreadable = Counter(
    "messages_unreadable", "Received bodies that are not messages of ours", registry=IN_WORKER
)
feed_found = Counter(
    "feed_found", "Messages that the feed poller found and that had not arrived otherwise", registry=IN_WORKER
)

webhook_delivered = Counter(
    "webhook_delivered", "Messages that a receiver of webhooks took", ["receiver"], registry=IN_WORKER
)
webhook_failures = Counter(
    "webhook_failures", "Messages that a receiver of webhooks did not take", ["receiver"], registry=IN_WORKER
)

# By the API, too: the login barrier applies messages there. A metric with labels shows what has moved only.
applied = Counter("messages_applied", "Messages that were applied here", ["type"])

# From the database.
parked_subjects = Gauge("messages_parked_guests", "Guests with parked or waiting messages", ["state"])
webhook_waiting = Gauge(
    "webhook_waiting_guests", "Guests whose messages a receiver did not take yet", ["receiver", "state"]
)
webhook_lag = Gauge("webhook_lag_events", "Events that a receiver of webhooks has still to get", ["receiver"])
webhook_stopped = Gauge("webhook_stopped", "1 while a receiver that said 410 gets nothing", ["receiver"])
feed_position = Gauge("feed_position", "Position in the other service's log up to which all is processed")
other_log_behind = Gauge(
    "other_log_behind_events",
    "Positions of the other service's log that were seen and are there no more: its database was restored",
)
relay_lag = Gauge("relay_lag_events", "Events in the log after the last confirmed one", registry=WITH_BROKER)
broker_faults = Gauge(
    "broker_fault_since_timestamp_seconds",
    "Unix time since which this is wrong at the broker: blocked, publishing, consuming, a queue, an exchange",
    ["fault"],
    registry=WITH_BROKER,
)


def registries(*, worker: bool, broker: bool) -> Sequence[CollectorRegistry]:
    """Return what a process shows: its own figures, and those from the database."""
    shown = {
        REGISTRY: True,
        WITH_BROKER: broker,
        IN_WORKER: worker,
        IN_WORKER_WITH_BROKER: worker and broker,
    }
    return [registry for registry, is_shown in shown.items() if is_shown]
