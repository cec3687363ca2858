"""What the bytes of a reply say, read once more and in another way: nothing here is the product's.

It answers one question: whether these bytes, taken at their word, call the patron valid. It may say so of
bytes that the product refuses to read; it must never deny it of bytes that the product may call valid.
"""

FLAGS_THAT_REFUSE = (0, 4, 5, 6, 9, 10, 11, 12, 13)  # as registered in R4
FIXED_PART = 61
HEXADECIMAL = set(b"0123456789abcdefABCDEF")
LINE_ENDS = b"\n\x00"


def frames(stream: bytes) -> list[bytes]:
    """What is between carriage returns, without line feeds and zeros around it, and without nothing."""
    stripped = [frame.strip(LINE_ENDS) for frame in stream.split(b"\r")[:-1]]
    return [frame for frame in stripped if frame]


def says_valid(frame: bytes, encoding: str, *, checksum_needed: bool) -> bool:
    """`BL` is Y and nothing else, there is a name, no flag refuses, and the checksum fits if there is one."""
    body = frame
    if frame[-6:-4] == b"AZ" and set(frame[-4:]) <= HEXADECIMAL:
        if (int(frame[-4:], 16) + sum(frame[:-4])) % 65536:
            return False
        body = frame[:-6]
        if body[-3:-1] == b"AY":
            body = body[:-3]
    elif checksum_needed:
        return False
    text = body.decode(encoding, errors="replace")
    if text[:2] != "64" or any(text[2 + flag : 3 + flag] != " " for flag in FLAGS_THAT_REFUSE):
        return False
    found = text[FIXED_PART:].split("|")
    validity = {field[2:].strip() for field in found if field[:2] == "BL"}
    names = {field[2:].strip() for field in found if field[:2] == "AE"}
    return validity == {"Y"} and len(names) == 1 and "" not in names
