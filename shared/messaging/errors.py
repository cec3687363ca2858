"""What can go wrong between the two services. The first sentence of a docstring is what callers read."""


class TryAgain(Exception):
    """Something that this needs is not available now. The same message is tried again automatically."""


class FeedUnavailable(TryAgain):
    """The other service's feed did not respond."""


class MalformedMessage(ValueError):
    """This is not a message of ours: its CloudEvents envelope cannot be read."""


class NotReadableYet(TryAgain):
    """The other service cannot read its own event now. The message is asked for again automatically."""


class CannotApply(Exception):
    """This login cannot be decided right now. Try again.

    I4: messages about the person could not be applied, and a login is never decided on a guess.
    """


class NotAuthentic(Exception):
    """This message does not come from the other service. It was not applied."""


class ForeignSource(NotAuthentic):
    """This message is of another log than the one that this service follows. It was not applied."""


class Diverged(Exception):
    """This stream version is known here as another event, which says something else.

    I8.
    """


class MissingVersion(Exception):
    """The other service's feed does not have a version of this guest that must exist."""


class NotParked(LookupError):
    """No message of this guest is parked (any more)."""


class OnlyWaiting(Exception):
    """This guest is only waiting and is retried automatically. Do not skip the message."""


class Unroutable(TryAgain):
    """The broker has no queue for this message yet, so it returned the message."""


class BrokerUnavailable(TryAgain):
    """The message broker could not be reached, or did not confirm."""
