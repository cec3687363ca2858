"""Why a home library gave no answer that can be trusted: *unavailable*, never a refusal (R4)."""


class NoAnswer(Exception):
    """no answer"""

    @property
    def reason(self) -> str:
        """A constant for logs and operators; nothing personal is ever in it."""
        return type(self).__doc__ or ""


class CannotConnect(NoAnswer):
    """cannot connect"""


class TlsFailed(CannotConnect):
    """does not speak TLS as we do"""


class CertificateNotTrusted(CannotConnect):
    """certificate is not trusted"""


class LoginRefused(NoAnswer):
    """login refused"""


class OffLine(NoAnswer):
    """says that it is off-line"""


class TimedOut(NoAnswer):
    """timed out"""


class NotLetIn(NoAnswer):
    """closed the connection before it let us in"""


class ClosedWithoutAnswer(NoAnswer):
    """closed the connection without an answer"""


class GarbledReply(NoAnswer):
    """reply cannot be understood"""


class BadChecksum(GarbledReply):
    """reply arrives damaged"""


class OutOfStep(GarbledReply):
    """reply belongs to another question"""
