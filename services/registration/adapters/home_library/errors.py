"""Why a home library gave no reply that can be trusted: *unavailable*, never a refusal (R4).

The docstring of a class is the reason that logs and operators get.
"""


class NoAnswer(Exception):
    """no reply"""

    @property
    def reason(self) -> str:
        """A constant for logs and operators, without personal data."""
        return type(self).__doc__ or ""


class CannotConnect(NoAnswer):
    """cannot connect"""


class TlsFailed(CannotConnect):
    """TLS handshake failed"""


class CertificateNotTrusted(CannotConnect):
    """certificate is not trusted"""


class LoginRefused(NoAnswer):
    """login refused"""


class OffLine(NoAnswer):
    """reports that it is off-line"""


class TimedOut(NoAnswer):
    """timed out"""


class NotLetIn(NoAnswer):
    """closed the connection before the first question"""


class ClosedWithoutAnswer(NoAnswer):
    """closed the connection without a reply"""


class GarbledReply(NoAnswer):
    """reply cannot be understood"""


class BadChecksum(GarbledReply):
    """reply arrived damaged"""


class OutOfStep(GarbledReply):
    """reply belongs to another question"""
