"""What the messaging counts, for /metrics. Every failure is counted: waiting, parked and diverged."""

from prometheus_client import Counter, Gauge

published = Counter("messages_published", "Messages that the broker confirmed")
publish_failures = Counter("messages_publish_failures", "Times that the relay lost the broker or the log")
relay_lag = Gauge("relay_lag_events", "Events in the log after the last confirmed one")

received = Counter("messages_received", "Messages received, from queues and feed together")
applied = Counter("messages_applied", "Messages that were applied here", ["type"])
dropped = Counter("messages_dropped", "Messages that were dropped because they had been applied before")
waiting = Counter("messages_waiting", "Times that a guest's messages had to wait for something unavailable")
parked = Counter("messages_parked", "Times that a message failed and its guest was parked")
diverged = Counter("messages_diverged", "Known versions that came with another event id: raise an alarm")
rejected = Counter("messages_rejected", "Messages that were not authentic: raise an alarm")
unreadable = Counter("messages_unreadable", "Received bodies that are not messages of ours")
parked_subjects = Gauge("messages_parked_guests", "Guests with parked or waiting messages", ["state"])

feed_position = Gauge("feed_position", "Position in the other service's log up to which all is processed")
feed_found = Counter("feed_found", "Messages that the feed poller found and that had not arrived otherwise")
