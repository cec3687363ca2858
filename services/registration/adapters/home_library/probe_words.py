"""What a probe says in words: what was found, why a step failed, what to do about it; secrets masked."""

import os
import re
import ssl
from datetime import date
from typing import cast

from registration.adapters.home_library import failures
from registration.adapters.home_library.directory import Credentials
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.sip2_messages import LOGIN
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, Refused, Valid

_MASK = "***"
_SECRET_FIELDS = re.compile(r"(CN|CO)[^|]*")
_SUM = re.compile(r"AZ[0-9A-F]{4}$")

_ADVICE: tuple[tuple[type[failures.NoAnswer], str], ...] = (
    (
        failures.CertificateNotTrusted,
        "give the library's own authority as tls_ca_file, or the name in its certificate as tls_server_name",
    ),
    (
        failures.TlsFailed,
        "ask the library for its port with TLS; tls = false only where a tunnel protects the line",
    ),
    (
        failures.CannotConnect,
        "check host and port in the file of home libraries, and whether the library's firewall lets us in",
    ),
    (failures.LoginRefused, "check {credentials} and location with the library"),
    (failures.OffLine, "the library's own system is down: try again later, or call the library"),
    (
        failures.NotLetIn,
        "the library may admit known addresses only, or want TLS or a login: ask the library",
    ),
    (failures.ClosedWithoutAnswer, "try another card: if that goes well, tell the library about this one"),
    (failures.OutOfStep, "the library does not return our sequence numbers: set checksums = false"),
    (
        failures.BadChecksum,
        "if the library knows no checksums, set checksums = false; else the line is damaged",
    ),
    (
        failures.GarbledReply,
        "compare the reply above with encoding and checksums in the file of home libraries",
    ),
)


def described(verdict: Valid | Refused | NotFound, today: date) -> str:
    """A verdict in one line."""
    match verdict:
        case NotFound():
            return "not found: the library knows no such card"
        case Refused():
            return f"refused: {', '.join(verdict.reasons)}; {_ends(verdict.ends_on, today)}"
        case Valid() if verdict.has_ended(today):
            return f"expired: called valid, but {_ends(verdict.ends_on, today)}"
        case Valid(is_guest_subscription=True):
            return f"valid, but itself a guest subscription; {_ends(verdict.ends_on, today)}"
        case Valid():
            return f"valid; {_ends(verdict.ends_on, today)}"


def encrypted(agreed: ssl.SSLObject) -> str:
    """Which version, and whose certificate until when."""
    certificate = agreed.getpeercert()
    if not certificate:
        return f"{agreed.version()}, certificate not checked"
    named = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    names = ", ".join(name for _, name in named)
    return f"{agreed.version()}, certificate of {names} until {certificate.get('notAfter')}"


def cause(failure: failures.NoAnswer) -> str:
    """Why there was no answer, in the words of the machine where it has any."""
    error = failure.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{failure.reason}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{failure.reason}: {error.reason or error}"
    if isinstance(error, OSError):
        if error.errno is not None and error.errno > 0:
            return f"{failure.reason}: {os.strerror(error.errno)}"
        return f"{failure.reason}: {error.strerror or error}"
    return failure.reason


def advice(failure: failures.NoAnswer, step: str, library: Library) -> str:
    """What to do about it."""
    if isinstance(failure, failures.TimedOut):
        if step == "ask":
            return f"silent for answer_seconds ({library.answer_seconds:g}): try another card, or call them"
        return f"nothing in connect_seconds ({library.connect_seconds:g}): a firewall may drop us"
    told = next(words for kind, words in _ADVICE if isinstance(failure, kind))
    credentials = f"{library.username_env}, {library.password_env}" if library.username_env else "credentials"
    return told.format(credentials=credentials)


def masked(data: bytes, encoding: str, credentials: Credentials | None) -> str:
    """A frame to look at: nothing that a terminal obeys, nothing that lets anybody in."""
    text = data.decode(encoding, errors="backslashreplace")
    if text.startswith(LOGIN):
        text = _SUM.sub(f"AZ{_MASK}", _SECRET_FIELDS.sub(rf"\1{_MASK}", text))
    if credentials is not None:
        for secret in (credentials.password, credentials.username):  # a library may repeat what it was sent
            text = text.replace(secret, _MASK)
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _ends(ends_on: EndsOn, today: date) -> str:
    if isinstance(ends_on, date):
        return f"{'ended' if ends_on < today else 'ends'} on {ends_on}"
    if ends_on is UNREADABLE:
        return "end date cannot be read: check expiry_field and date_format"
    return "no end known"
