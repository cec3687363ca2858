"""What the bytes of a reply say, read once more and in another way: nothing here is the product's.

It answers two questions: whether these bytes, taken at their word, call the patron valid, and whether they
refuse the patron. It may say so of bytes that the product does not read so; it must never deny it of bytes
that the product may call valid, or refused.
"""

FLAGS_THAT_REFUSE = (0, 4, 5, 6, 9, 10, 11, 12, 13)  # as registered in R4
FIXED_PART = 61
HEXADECIMAL = set(b"0123456789abcdefABCDEF")
AROUND = b"\n\x00"
CARD = "0990139305"


def frames(stream: bytes) -> list[bytes]:
    """What is between carriage returns, cut at each line feed behind a whole message, and without nothing."""
    found = []
    for line in stream.split(b"\r")[:-1]:
        message = b""
        for byte in line.lstrip(AROUND):
            if byte == 0x0A and ended(message):
                found.append(message)
                message = b""
            elif message or byte not in AROUND:
                message += bytes([byte])
        found.append(message)
    return [frame for frame in (each.rstrip(AROUND) for each in found) if frame]


def ended(message: bytes) -> bool:
    """Whether a line feed here ends it: behind a separator, a checksum or a yes or no, not within a text."""
    if message[:2] not in {b"64", b"98"}:
        return True
    if message.endswith(b"|") or message[-4:] in {b"|BLY", b"|BLN", b"|CQY", b"|CQN"}:
        return True
    return (message[:2] == b"98" and len(message) == 36) or trailer_of(message) is not None


def trailer_of(message: bytes) -> tuple[int, int] | None:
    """Where the checksum begins, and its number: one to four digits, with spaces on either side."""
    at = message.rfind(b"AZ")
    sum_ = message[at + 2 :].strip(b" ")
    if at < max(0, len(message) - 32) or not 1 <= len(sum_) <= 4 or not set(sum_) <= HEXADECIMAL:
        return None
    return at + 2, int(sum_, 16)


def body_of(frame: bytes, encoding: str, *, checksum_needed: bool) -> bytes | None:
    """The message without its trailer; None if the checksum fits neither its bytes nor its characters."""
    trailer = trailer_of(frame)
    if trailer is None:
        return None if checksum_needed else frame
    at, number = trailer
    characters = frame[:at].decode(encoding, errors="replace")
    if (number + sum(frame[:at])) % 65536 and (number + sum(map(ord, characters))) % 65536:
        return None
    body = frame[: at - 2]
    return body[:-3] if body[-3:-1] == b"AY" else body


def said(fields: list[str], code: str, length: int = 10_000) -> set[str]:
    """The values of a field. One of a fixed length may have others behind it."""
    values = set()
    for field in fields:
        rest = field
        while rest[:2] in {"BL", "CQ", "BH", "BZ", "CA", "CB"} and rest[:2] != code:
            rest = rest[{"BL": 3, "CQ": 3, "BH": 5}.get(rest[:2], 6) :]
        if rest[:2] == code:
            behind = rest[2 + length :]  # another field, perhaps an empty one
            values.add(rest[2:].strip() if len(behind) < 2 else rest[2 : 2 + length])
    return values


def says(frame: bytes, encoding: str, *, checksum_needed: bool) -> tuple[bool, bool]:
    """Whether it says *valid*, and whether it says *refused*."""
    body = body_of(frame, encoding, checksum_needed=checksum_needed)
    if body is None:
        return False, False
    text = body.decode(encoding, errors="replace")
    if text[:2] != "64" or not all(" " <= flag <= "~" for flag in text[2:16]):
        return False, False
    flagged = any(text[2 + flag : 3 + flag] != " " for flag in FLAGS_THAT_REFUSE)
    fields = text[FIXED_PART:].split("|")
    validity = said(fields, "BL", 1)
    names = said(fields, "AE")
    is_named = len(names) == 1 and any(
        letter.isalpha() or letter in "?\ufffd" for name in names for letter in name.replace(CARD, "")
    )
    asks_for_pin = not said(fields, "CQ", 1) <= {"", "Y"}
    valid = validity == {"Y"} and is_named and not flagged
    refused = is_named and not asks_for_pin and (validity == {"N"} or (validity == {"Y"} and flagged))
    return valid, refused
