"""SIP2 (3M Standard Interchange Protocol 2.00) on the network: frames, checksums, fields."""

import re
from collections.abc import Collection, Mapping
from string import ascii_uppercase, digits
from typing import NamedTuple

from registration.adapters.home_library.errors import BadChecksum, GarbledReply

LONGEST_REPLY = 16_384
"""In bytes, with all that comes after it until the next question. Real replies have some hundreds."""

_TRAILER = re.compile(rb"(?:AY([0-9]))?AZ()([0-9A-Fa-f]{4})\Z")
_TRAILER_LENGTH = len("AY0AZFFFF")
_PADDED_TRAILER = re.compile(rb"(?:AY([0-9]))?AZ( *)([0-9A-Fa-f]{1,4}) *\Z")
_LONGEST_TRAILER = 32
_LINE_ENDS = b"\r\n\x00"
_WITH_TEXT = (b"64", b"98")
_STATUS_WITHOUT_FIELDS = 36
_WHOLE = re.compile(rb"(?:\||\|(?:BL|CQ)[YN]|AZ *[0-9A-Fa-f]{1,4} *)\Z")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSAFE = re.compile(r"[|\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OF_THE_TRAILER = frozenset({"AY", "AZ"})
_LOOKS_LIKE_A_CODE = re.compile(r"[A-Z][A-Z0-9]")
_YES_OR_NO = "BL"
_FIXED_LENGTHS = {"BL": 3, "CQ": 3, "BH": 5, "BZ": 6, "CA": 6, "CB": 6}
_ANY_LENGTH = LONGEST_REPLY
_OF_FIXED_LENGTH = re.compile(r"(?:BL|CQ).|BH[A-Z ]{3}|(?:BZ|CA|CB)[0-9 ]{4}")


def known_codes(*own: str | None) -> Mapping[str, int]:
    """Return the codes of fields that a reply may hold, each with the most characters of code and value.

    A, B and C are of the standard, P, X and Z of vendors; `own` are those that a library's settings name.
    """
    codes = {first + second for first in "ABCPXZ" for second in ascii_uppercase + digits}
    codes |= {code for code in own if code}
    return dict.fromkeys(codes - _OF_THE_TRAILER, _ANY_LENGTH) | _FIXED_LENGTHS


STANDARD_CODES = known_codes()


class UnsafeValue(ValueError):
    """A value holds the field separator or a control character, so it cannot be sent."""


def field(code: str, value: str) -> str:
    """Return a variable field. Raises UnsafeValue for a value that could end the field or the message."""
    if not is_safe(value):
        raise UnsafeValue(code)
    return f"{code}{value}|"


def is_safe(value: str) -> bool:
    """Return whether a field may hold this value: no `|`, no control characters."""
    return _UNSAFE.search(value) is None


def is_writable(value: str, encoding: str) -> bool:
    """Return whether a value can be sent in this encoding. CP850, for example, has no euro sign."""
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def checksum(data: bytes) -> bytes:
    """Return the two's complement of the byte sum in four hex digits. `data` ends with `AZ`."""
    return b"%04X" % (-sum(data) & 0xFFFF)


def frame(body: str, encoding: str, sequence: int | None = None) -> bytes:
    """Return the bytes of one message. With a sequence digit it gets a checksum too."""
    data = body.encode("ascii" if body.isascii() else encoding)  # "ascii" is faster, with the same bytes
    if sequence is not None:
        data += b"AY%dAZ" % sequence
        data += checksum(data)
    return data + b"\r"


class Message(NamedTuple):
    """A message without its trailer. `sequence`: its digit, if any; `checked`: its checksum was right."""

    text: str
    sequence: int | None = None
    checked: bool = False


def open_frame(data: bytes, encoding: str, *, checksum_needed: bool = False) -> Message:
    """Check the checksum and decode. Raises BadChecksum.

    `checksum_needed`: the other side sends checksums, so a message without one has lost its end. What the
    encoding cannot read becomes U+FFFD.
    """
    trailer = _TRAILER.search(data, max(0, len(data) - _TRAILER_LENGTH)) or _PADDED_TRAILER.search(
        data, max(0, len(data) - _LONGEST_TRAILER)
    )
    if trailer is None:
        if checksum_needed:
            raise BadChecksum
        return Message(data.decode(encoding, "replace"))
    summed, expected = data[: trailer.start(2)], int(trailer[3], 16)
    if -sum(summed) & 0xFFFF != expected and not is_sum_of_characters(summed, encoding, expected):
        raise BadChecksum
    sequence = None if trailer[1] is None else int(trailer[1])
    return Message(data[: trailer.start()].decode(encoding, "replace"), sequence, True)


def is_sum_of_characters(data: bytes, encoding: str, expected: int) -> bool:
    """Return whether a checksum was made over the characters, as servers without a set encoding do."""
    try:
        return -sum(map(ord, data.decode(encoding))) & 0xFFFF == expected
    except UnicodeDecodeError:
        return False


def is_checked(data: bytes) -> bool:
    """Return whether a message ends with a checksum."""
    return _PADDED_TRAILER.search(data, max(0, len(data) - _LONGEST_TRAILER)) is not None


class FrameReader:
    """Cuts incoming data into frames. The data may hold a part of a reply, or several replies.

    CR ends a message. LF ends it too, except inside a value: some systems put line ends into addresses.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        """Add incoming data."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole frame without its end; None while it is incomplete."""
        if self._buffer[:1] in _LINE_ENDS:
            self._buffer = self._buffer.lstrip(_LINE_ENDS)
            self._searched = 0
        if (end := self._end()) < 0:
            return None
        data = bytes(self._buffer[:end]).rstrip(_LINE_ENDS)
        del self._buffer[: end + 1]
        self._searched = 0
        return data

    def _end(self) -> int:
        """Return the offset of the character that ends the first message, or -1."""
        end = self._buffer.find(b"\r", self._searched)
        last = end if end >= 0 else len(self._buffer)
        while (feed := self._buffer.find(b"\n", self._searched, last)) >= 0:
            if self._is_whole(feed):
                return feed
            self._searched = feed + 1
        self._searched = last
        return end

    def _is_whole(self, end: int) -> bool:
        """Return whether what comes before a line feed is a whole message. Only 64 and 98 hold texts."""
        if self._buffer[:2] not in _WITH_TEXT:
            return True
        if end == _STATUS_WITHOUT_FIELDS:
            return self._buffer[:2] == b"98"
        return _WHOLE.search(self._buffer, max(0, end - _LONGEST_TRAILER), end) is not None

    @property
    def is_empty(self) -> bool:
        """Whether no data is left except line ends."""
        return not self._buffer.strip(_LINE_ENDS)


Fields = list[tuple[str, str]]
_NOTHING_ELSE: frozenset[str] = frozenset()


def fields(
    text: str,
    start: int,
    codes: Mapping[str, int] = STANDARD_CODES,
    strict: Collection[str] = _NOTHING_ELSE,
) -> Fields:
    """Return the variable fields from offset `start`, in their order. Raises GarbledReply.

    What does not begin with one of `codes` belongs to the value before it, unless that is in `strict`.
    Behind a value of fixed length the next field may begin without a separator (R23).

    Control characters become spaces, because some systems put line ends into addresses and messages. They
    stay in a yes or no, which is then damaged. A trailer with a damaged checksum shows up here as a field,
    and raises BadChecksum.
    """
    found: Fields = []
    is_on_one_line = text.isprintable()
    for part in text[start:].split("|"):
        code = part[:2]
        if is_on_one_line and len(part) <= codes.get(code, -1):
            found.append((code, part[2:]))
        else:
            _add_unusual(found, part, codes, strict)
    return found


def _add_unusual(found: Fields, part: str, codes: Mapping[str, int], strict: Collection[str]) -> None:
    """Add what is not one field: several without a separator, a part of a value, or a field of a vendor."""
    while (length := codes.get(part[:2], _ANY_LENGTH)) < len(part):
        next_code = part[length : length + 2]
        is_next = next_code in codes or next_code in _OF_THE_TRAILER
        if not is_next or _OF_FIXED_LENGTH.fullmatch(part, 0, length) is None:
            break
        found.append((part[:2], part[2:length]))
        part = part[length:]
    code, value = part[:2], part[2:]
    text = _CONTROLS.sub(" ", value)
    if code in codes:
        found.append((code, value if code == _YES_OR_NO else text))
    elif code in _OF_THE_TRAILER:
        raise BadChecksum
    elif text.strip(" ") or code.strip(" \r\n\0"):
        _add_rest(found, code, text, strict)


def _add_rest(found: Fields, code: str, text: str, strict: Collection[str]) -> None:
    """Add the rest of the value before it; behind a value that decides, a field of an unknown code only."""
    if found and found[-1][0] not in strict:
        before, begun = found[-1]
        found[-1] = (before, _CONTROLS.sub(" ", f"{begun}|{code}{text}"))
    elif _LOOKS_LIKE_A_CODE.match(code):
        found.append((code, text))
    else:
        raise GarbledReply
