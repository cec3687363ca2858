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


_ABOUT_QUESTIONS: dict[type[errors.NoAnswer], str] = {
    errors.Redirected: "set host, port, tls and path to the new address, if that is the library's",
    errors.ServerFailed: "the library's own system fails: try again later, or call the library",
    errors.NotServed: "check path, host and port in the file of home libraries",
    errors.UnknownStatus: "add the UserPrivilegeStatusType to active_statuses or to inactive_statuses",
    errors.IgnoresTheCard: (
        'the library ignores what is searched; a proxy may drop the header x-koha-query: set query_in = "url"'
    ),
    errors.NamesSeveral: "more than one patron has this card: report it to the library",
    errors.RefusesToSay: "the library wants a PIN, or hides this patron from us: ask it for the right",
    errors.NamesNobody: "the reply has no name: ask the library to send it",
    errors.SaysTwoThings: "the reply says one thing twice, with two values: report it to the library",
    errors.FailedInside: "the reply reports a problem (ProblemType): report it to the library",
    errors.AnotherCard: (
        "the reply does not name the card that was asked about: if the library has numbers of its own, set "
        "own_ids = true; else report it to the library"
    ),
    errors.NotLetIn: "the library may accept known addresses only, or TLS (tls): ask the library",
}
_MEMBERSHIP = {
    "ncip": (
        "the reply has no UserPrivilege that counts: ask the library to send it, check "
        "membership_privileges, or set privileges_required = false if it has none"
    ),
    "koha": "the reply lacks restricted or expiry_date: ask the library for the version of its Koha",
}


def advice_about_question(failure: errors.NoAnswer, step: str, library: Library, seen: Seen) -> str:
    """Return what an operator can do about a failure of this step: NCIP and Koha."""
    match failure:
        case errors.TimedOut() | errors.ClosedWithoutAnswer() if step == "again":
            return f"set questions_per_connection = {seen.questions}"
        case errors.TimedOut():
            if seen.half_a_reply:
                return "a reply began and has no end: it must end with the end tag of NCIPMessage"
            waited = "connect_seconds" if step in {"connect", "TLS"} else "answer_seconds"
            seconds = getattr(library, waited)
            return f"no reply in {waited} ({seconds:g}): ask the library whether a firewall blocks us"
        case errors.LoginRefused():
            return _about_rights(library)
        case errors.NoMembership():
            return _MEMBERSHIP[library.protocol]
        case _:
            plain = (text for kind, text in (_ABOUT_QUESTIONS | _PLAIN).items() if type(failure) is kind)
            return next(plain, None) or _about_other_bytes(library, seen)


def _about_rights(library: Library) -> str:
    names = f"{library.username_env}, {library.password_env}" if library.username_env else "credentials"
    if library.protocol == "koha":
        return f"check {names}; its user needs the permission to see patrons, and RESTOAuth2ClientCredentials"
    return f"check {names}, credentials_in, from_agency and to_agency with the library"


def _about_other_bytes(library: Library, seen: Seen) -> str:
    body = seen.last if library.transport == "tcp" else seen.last.partition(b"\n")[2]
    if library.transport == "tcp" and body.startswith(b"HTTP/"):
        return 'this is HTTP: set transport = "http"'
    if (encoding := encoding_instead(body)) and library.protocol == "ncip":
        return f'the reply is not in the encoding that it claims: set encoding = "{encoding}"'
    kind = "NCIP 2.02" if library.protocol == "ncip" else "a list of patrons from Koha"
    return f"this is not {kind}: check host, port and path; compare the reply with docs/home-libraries.md"


def encoding_instead(data: bytes) -> str:
    """Return an encoding in which bytes that are no UTF-8 look right, or an empty text."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return next(
            (name for name in _WESTERN if not any(map(is_odd, _words(data.decode(name, "replace"))))), ""
        )
    return ""


_WESTERN = ("iso-8859-1", "cp1252", "cp850")


def _words(text: str) -> list[str]:
    """Return the texts of a reply, without tags and signs."""
    return re.findall(r"[^\W\d_]+|\ufffd", re.sub(r"<[^>]*>", " ", text))


def odd_text(reply: bytes) -> str:
    """Return advice when a reply holds letters that were lost on the way, or an empty text."""
    if "\ufffd" in reply.decode("utf-8", "replace"):
        return "letters were lost on the way: ask the library for its encoding, and set encoding"
    return ""


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
