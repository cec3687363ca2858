"""Text from outside: how it is stored, compared and shown on a terminal. The one place that decides it.

Characters that cannot be seen make one text look like another, or turn the text around them (Unicode
Technical Report 36, section 2). docs/contract.md says what happens to which field.
"""

from __future__ import annotations

import unicodedata

LONGEST_SUMMARY = 500
LONGEST_IDENTIFIER = 255
"""Characters. The `sub` of a token is no longer (OpenID Connect Core 1.0, section 2)."""

_LINE_ENDS = frozenset({"Cc", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
# Fillers that count as letters or marks, and show nothing.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_VARIANTS = frozenset(
    map(chr, (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
"""Variation selectors: they choose the form of the character before them."""
_FIRST_MARK = "\u0300"
"""Before it, what is printable can be seen and is in form NFC: the letters of western languages."""
_VIRAMA = 9
"""The combining class of the signs that a joiner follows in scripts of South Asia."""


def tidy(text: str) -> str:
    """Return a name or a free text as it is stored and shown: one line, in Unicode form NFC.

    Control characters and line ends become spaces. Bidirectional controls and other characters that cannot
    be seen are removed. Joiners and variation selectors stay where a script needs them.
    """
    if text.isprintable() and (text.isascii() or max(text) < _FIRST_MARK):
        return text
    kept: list[str] = []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category in _LINE_ENDS:
            kept.append(" ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif not _is_unseen(character, category) or _is_needed(character, kept, text, place):
            kept.append(character)
    return unicodedata.normalize("NFC", "".join(kept))


def _is_unseen(character: str, category: str) -> bool:
    return category == "Cf" or character in _BLANKS or character in _VARIANTS


def _is_needed(character: str, before: list[str], text: str, place: int) -> bool:
    """Return whether the script of the neighbours needs this joiner or variation selector.

    Joiners: RFC 5892, appendices A.1 and A.2, simplified to Arabic letters and to a virama on either side. A
    selector of another form is needed after an ideograph, for example; after a Latin letter it shows nothing.
    """
    if not before:
        return False
    if character in _VARIANTS:
        return unicodedata.category(before[-1]) == "Lo"
    after = next((c for c in text[place + 1 :] if unicodedata.category(c) != "Cf"), "")
    if character not in _JOINERS or not after:
        return False
    if _VIRAMA in {unicodedata.combining(before[-1]), unicodedata.combining(after)}:
        return True
    letter = next((c for c in reversed(before) if unicodedata.category(c) != "Mn"), "")
    return {unicodedata.bidirectional(c) for c in (letter or "a", after)} == {"AL"}


def without_unseen(text: str) -> str:
    """Return text without all characters that cannot be seen, also without those that a script needs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if not _is_unseen(c, unicodedata.category(c)))


def comparable(text: str) -> str:
    """Return the form in which names are compared: two that look alike in all fonts are the same.

    Unicode form NFKC, without case and without characters that cannot be seen: as in NFKC_Casefold, Unicode
    Standard section 3.13.
    """
    seen = unicodedata.normalize("NFKC", without_unseen(text)).casefold()
    return unicodedata.normalize("NFKC", seen)


def has_line_end(text: str) -> bool:
    """Return whether text holds a control character or a line end."""
    return any(unicodedata.category(character) in _LINE_ENDS for character in text)


def is_identifier(text: str) -> bool:
    """Return whether text can be an id or a code: 1 to LONGEST_IDENTIFIER characters that can all be seen."""
    return 0 < len(text) <= LONGEST_IDENTIFIER and text.isprintable()


def require_identifier(text: str) -> str:
    """Return an id or a code unchanged. Raises ValueError when it cannot be one."""
    if not is_identifier(text):
        raise ValueError(f"must have 1 to {LONGEST_IDENTIFIER} characters that can all be seen")
    return text


def require_text(text: str) -> str:
    """Return a free text tidied and trimmed. Raises ValueError when nothing of it can be seen."""
    tidied = tidy(text).strip()
    if not without_unseen(tidied):
        raise ValueError("must hold a text that can be seen")
    return tidied


def visible(text: str) -> str:
    r"""Return text on one line, with every character that cannot be seen as an escape such as `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def summary(text: str) -> str:
    """Return text for a log, a table of operators or a terminal: one line, storable, not too long."""
    return visible(" ".join(text.split()))[:LONGEST_SUMMARY]


def harmless(text: str) -> str:
    """Return the text of a cell of CSV. A spreadsheet takes a text that begins like a formula for one."""
    return f"'{text}" if text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
