"""What can go wrong between the two services; each docstring is the English sentence."""


class TryAgain(Exception):
    """Something needed for this is not available now; the same message is tried again by itself."""


class FeedUnavailable(TryAgain):
    """The other service's feed could not be asked."""


class MalformedMessage(ValueError):
    """This is not a message of ours: its CloudEvents envelope cannot be read."""


class CannotApply(Exception):
    """What the other service says of this guest cannot be applied now (I4: try again, never a guess)."""


class Diverged(Exception):
    """This version of the guest is known here under another event id (I8)."""


class MissingVersion(Exception):
    """The other service's feed answered, but without a version that must exist."""


class NotParked(LookupError):
    """This guest is not parked."""


class Unroutable(TryAgain):
    """The broker has no queue for this message yet, so it was returned unconfirmed."""


class BrokerUnavailable(TryAgain):
    """The message broker could not be reached, or did not confirm."""
