"""What an operator can do about a failed question, as far as the bytes on the wire show it."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from registration.adapters.home_library import errors
from registration.adapters.home_library.settings import ENCODINGS, Library
from registration.adapters.home_library.sip2.framing import open_frame
from registration.adapters.home_library.sip2.messages import PATRON_REPLY, RESEND


@dataclass(frozen=True, slots=True)
class Seen:
    """What was on the wire in one step: whole messages, and whether a reply began and has no end.

    `questions`: how many the library has replied to over this connection.
    """

    sent: Sequence[bytes] = ()
    received: Sequence[bytes] = ()
    half_a_reply: bool = False
    questions: int = 0

    @property
    def last(self) -> bytes:
        """The last message that came in; empty when none did."""
        return self.received[-1] if self.received else b""


FIRST_ONLY = (
    "the library replies to the first question of a connection only, and that was the one for its status: "
    "set questions_per_connection = 1"
)
_PLAIN: dict[type[errors.NoAnswer], str] = {
    errors.CertificateNotTrusted: (
        "set tls_ca_file to the library's CA certificate, or tls_server_name to the name in its certificate"
    ),
    errors.TlsFailed: (
        "ask the library for its TLS port; set tls = false only if a tunnel protects the connection"
    ),
    errors.CannotConnect: (
        "check host and port in the file of home libraries, and whether the library's firewall blocks us"
    ),
    errors.OffLine: "the library's own system is down: try again later, or call the library",
    errors.ClosedWithoutAnswer: "try another card: if that works, report this card to the library",
    errors.NoValidity: "the reply leaves out BL (Y or N): ask the library to send it for every card",
    errors.NamesNobody: (
        "the reply has no name (AE): ask the library to send it, and BL N when it does not know the card"
    ),
    errors.SaysTwoThings: "the reply holds AA, AE or BL twice, with two values: report it to the library",
    errors.AsksForPin: (
        "the library wants a PIN (CQ is not Y): ask it to reply about cards without a PIN to this login"
    ),
    errors.FailedInside: (
        "the text of the reply (AF, AG) is an error: report it to the library; if it is none, set "
        "error_messages"
    ),
}
_DIGIT_OF_THE_SEQUENCE = re.compile(rb"AY([0-9])AZ *[0-9A-Fa-f]{1,4} *$")
_TRAILER = re.compile(rb"AZ *[0-9A-Fa-f]{1,4} *$")
_SIP2 = re.compile(rb"[0-9]{2}")


def advice(  # noqa: PLR0911 - one line for each kind of failure
    failure: errors.NoAnswer, step: str, library: Library, seen: Seen
) -> str:
    """Return what an operator can do about a failure of this step."""
    match failure:
        case errors.TimedOut() | errors.ClosedWithoutAnswer() if step == "again":
            return (
                f"the library replies to {seen.questions} and no more over one connection: set"
                f" questions_per_connection = {seen.questions}"
            )
        case errors.TimedOut():
            return _about_silence(step, library, seen)
        case errors.NotLetIn():
            return f"the library may accept known addresses only, or {_wants(library)}: ask the library"
        case errors.LoginRefused():
            names = (
                f"{library.username_env}, {library.password_env}" if library.username_env else "credentials"
            )
            return f"check {names} and location with the library"
        case errors.OutOfStep():
            return _about_order(library, seen)
        case errors.BadChecksum():
            return _about_damage(library, seen)
        case errors.NoCardNumber():
            return _about_card_number(library)
        case _:
            plain = (text for kind, text in _PLAIN.items() if isinstance(failure, kind))
            return next(plain, None) or _about_garbage(seen)


def _about_silence(step: str, library: Library, seen: Seen) -> str:
    if seen.half_a_reply:
        return "a reply began and has no end: the library must end each message with CR or LF"
    if step == "ask":
        return (
            f"no reply in answer_seconds ({library.answer_seconds:g}): try another card, or call the library"
        )
    waited = f"no reply in connect_seconds ({library.connect_seconds:g}): "
    if step == "connect":
        return f"{waited}a firewall may block us"
    if step == "TLS":
        return f"{waited}{_PLAIN[errors.TlsFailed]}"
    return f"{waited}the library may {_wants(library)}"


def _wants(library: Library) -> str:
    """Return what a library may want that rejects us without a word, where the settings differ from it."""
    wanted = [
        "" if library.uses_tls else "TLS (tls = true)",
        "" if library.username_env else "a login (username_env, password_env)",
        "no checksums (checksums = false)" if library.checksums else "checksums (checksums = true)",
    ]
    return "require " + " or ".join(filter(None, wanted))


def _about_order(library: Library, seen: Seen) -> str:
    asked, replied = (
        _DIGIT_OF_THE_SEQUENCE.search(data) for data in (seen.sent[-1] if seen.sent else b"", seen.last)
    )
    if library.checksums and asked and replied and asked[1] != replied[1]:
        return "the library does not return our sequence numbers: set checksums = false"
    return "the library sent what was not asked for: report the messages above to the library"


def _about_resend(library: Library) -> str:
    if not library.checksums:
        return "the library asks for each message again, because it wants checksums: set checksums = true"
    return (
        "the library finds our messages damaged: set checksums = false if it uses none; else the "
        "connection damages data"
    )


def _about_damage(library: Library, seen: Seen) -> str:
    if seen.last.startswith(RESEND.encode()):
        return _about_resend(library)
    if not _SIP2.match(seen.last):
        return _about_garbage(seen)
    if not _TRAILER.search(seen.last):
        return "the reply has no checksum, and earlier ones had: its end is lost; report it to the library"
    if (encoding := _encoding_of_the_sum(seen.last)) is not None:
        return f'the checksum fits characters of another encoding: set encoding = "{encoding}"'
    if len(seen.received) > 1 and len(set(seen.received)) == 1:
        return "the library makes wrong checksums, the same ones each time: report the reply to the library"
    return "the connection damages data: the reply arrives with another checksum than it was sent with"


def _encoding_of_the_sum(data: bytes) -> str | None:
    for encoding in ENCODINGS.values():
        try:
            data.decode(encoding)
            open_frame(data, encoding)
        except (UnicodeDecodeError, errors.BadChecksum):
            continue
        return encoding
    return None


def _about_card_number(library: Library) -> str:
    if library.checksums:
        return "AA holds no card number: ask the library to send it, and to return our sequence numbers (AY)"
    return (
        "AA holds no card number of 1 to 20 letters and digits: set checksums = true, so that a sequence "
        "number proves which card the reply is about; or ask the library to send the number alone"
    )


def _about_garbage(seen: Seen) -> str:
    if seen.last and not _SIP2.match(seen.last):
        return "this is not SIP2: check host, port and tls in the file of home libraries"
    if seen.last.startswith(PATRON_REPLY.encode()):
        return (
            "compare the reply above with docs/home-libraries.md: its first 61 characters, AA, BL (Y or N) "
            "and the field of expiry_field are read strictly; report it to the library"
        )
    return "compare the reply above with SIP2 2.00, and report it to the library"


def odd_name(reply: bytes, library: Library) -> str:
    """Return advice when the name in a patron reply decodes oddly, or an empty text."""
    fields = reply[_FIXED_PART:].split(b"|")
    sent = next((part[2:] for part in fields if part.startswith(b"AE")), b"")
    if not is_odd(sent.decode(library.encoding, "replace")):
        return ""
    for encoding in ENCODINGS.values():
        name = sent.decode(encoding, "replace")
        if not is_odd(name):
            return f'the name looks odd; it would be "{name}" with encoding = "{encoding}"'
    return "the name looks odd: ask the library for its encoding"


_FIXED_PART = 61
_NEVER_IN_NAMES = frozenset("ªºþ\ufffd")
_IN_NAMES = frozenset("’‘–")


def is_odd(name: str) -> bool:
    """Return whether a name holds what names do not: signs, or a capital with an accent in a word."""
    for before, character in zip(f" {name}", name, strict=False):
        if character.isascii():
            if not character.isprintable():
                return True
            continue
        category = unicodedata.category(character)
        if character in _NEVER_IN_NAMES or (category[0] not in "LM" and character not in _IN_NAMES):
            return True
        if category == "Lu" and before.islower():
            return True
    return False
