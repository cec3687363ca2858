"""What the messaging counts, for /metrics. Failure is visible: waiting, parked and diverged are all here."""

from prometheus_client import Counter, Gauge

published = Counter("messages_published", "Messages that the broker confirmed")
publish_failures = Counter("messages_publish_failures", "Times that the relay had to wait for the broker")
relay_lag = Gauge("relay_lag_events", "Events in the log beyond the last confirmed one")

received = Counter("messages_received", "Messages that came in, over queue and sweep together")
applied = Counter("messages_applied", "Messages that had their effect here", ["type"])
dropped = Counter("messages_dropped", "Messages that were known already")
waiting = Counter("messages_waiting", "Times that a guest had to wait for something unavailable")
parked = Counter("messages_parked", "Times that a message could not be handled and its guest was parked")
diverged = Counter("messages_diverged", "Known versions that came with another event id: an alarm")
unreadable = Counter("messages_unreadable", "Bodies that are no message of ours")
held_guests = Gauge("messages_held_guests", "Guests whose messages are held now", ["state"])

sweep_position = Gauge("sweep_position", "The other's log is dealt with up to here")
sweep_found = Counter("sweep_found", "Messages that the sweep found and that had not come otherwise")
