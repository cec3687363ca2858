"""Messages between the two services: envelope, relay, broker, feed, inbox. Knows neither service."""

from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, FeedUnavailable, MalformedMessage, TryAgain
from shared.messaging.schema import SCHEMA

__all__ = ["SCHEMA", "CannotApply", "FeedUnavailable", "MalformedMessage", "Message", "TryAgain"]
