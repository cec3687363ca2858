"""Why a home library gave no reply that can be trusted: *unavailable*, never a refusal (R4).

The docstring of a class is the reason that logs and operators get.
"""


class NoAnswer(Exception):
    """no reply"""

    @property
    def reason(self) -> str:
        """A constant for logs and operators, without personal data."""
        return (type(self).__doc__ or "").partition("\n")[0]


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


class NotUnderstood(NoAnswer):
    """reply cannot be understood

    It came before the first question, so it is about the connection and not about a card.
    """


class ClosedWithoutAnswer(NoAnswer):
    """closed the connection without a reply"""


class Redirected(NoAnswer):
    """redirects to another address, which is not asked"""


class ServerFailed(NoAnswer):
    """its server failed or is too busy"""


class NotServed(NoAnswer):
    """this address does not serve the question"""


class GarbledReply(NoAnswer):
    """reply cannot be understood

    The library did reply, so this is no failure of the connection (R23).
    """


class NoValidity(GarbledReply):
    """reply cannot be understood: it leaves out BL"""


class NamesNobody(GarbledReply):
    """reply cannot be understood: it names nobody"""


class NoCardNumber(GarbledReply):
    """reply cannot be understood: it has no card number"""


class SaysTwoThings(GarbledReply):
    """reply cannot be understood: it says two different things"""


class AsksForPin(GarbledReply):
    """refuses for a PIN that was not given"""


class FailedInside(GarbledReply):
    """reports an error of its own"""


class BadChecksum(GarbledReply):
    """reply arrived damaged"""


class OutOfStep(GarbledReply):
    """reply belongs to another question"""


class NoMembership(GarbledReply):
    """reply cannot be understood: it leaves out what decides"""


class NamesSeveral(GarbledReply):
    """reply cannot be understood: it names more than one person"""


class AnotherCard(GarbledReply):
    """reply is about another card than the one that was asked about"""


class IgnoresTheCard(GarbledReply):
    """reply has persons with other cards than the one that was asked about"""


class UnknownStatus(GarbledReply):
    """reply cannot be understood: a privilege has a status that is in neither list"""


class RefusesToSay(GarbledReply):
    """does not reply about this card to us"""
