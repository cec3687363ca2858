"""Messages between the two services: envelope, relay, broker, feed, inbox. Knows neither service."""

from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, FeedUnavailable, MalformedMessage, TryAgain
from shared.messaging.schema import SCHEMA, TRANSFERRED_TABLES

__all__ = [
    "SCHEMA",
    "TRANSFERRED_TABLES",
    "CannotApply",
    "FeedUnavailable",
    "MalformedMessage",
    "Message",
    "TryAgain",
]
