"""Library cards: ISIL (R3), card number (R1), card prefix (R2) and person reference, for both services."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from shared.kernel.errors import RuleBroken

_CARD_NUMBER = re.compile(r"[0-9A-Za-z]{1,20}")
_WITH_START_AND_STOP = re.compile(r"[A-DENTa-dent*][0-9]{4,}[A-DENTa-dent*]")
_SHORTEST_TWICE = 5
_PREFIX = re.compile(r"[0-9]{4}")
_ISIL = re.compile(r"NL-[0-9]{6}(?:[0-9]{4})?")
_BASE_LENGTH = len("NL-") + 6
_USUAL_ISIL = re.compile(r"(?:NL[\s\-\u2010-\u2015]*)?([0-9]{6}(?:[0-9]{4})?)", re.IGNORECASE)


class MalformedCardNumber(RuleBroken):
    """This is not a card number: a card number has 1 to 20 letters and digits.

    R1.
    """


class MalformedIsil(RuleBroken):
    """This is not an ISIL code: an ISIL code is NL- and 6 digits, sometimes followed by 4 more.

    R3.
    """


@dataclass(frozen=True, slots=True)
class Isil:
    """A well-formed ISIL, the international code of a library (ISO 15511), in upper case.

    Create one with `Isil.parse`; `str()` returns the code.
    """

    code: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the ISIL in `text`.

        Upper and lower case are accepted, and spaces at both ends are trimmed. Raises MalformedIsil, for
        example for `L-070288`.
        """
        code = text.strip(" ").upper()
        if _ISIL.fullmatch(code) is None:
            raise MalformedIsil
        return cls(code)

    @property
    def base(self) -> str:
        """The first part, `NL-` and six digits, without the location. Two ISILs are compared on it."""
        return self.code[:_BASE_LENGTH]

    def same_library(self, other: Isil) -> bool:
        """Return whether both have the same six-digit base (R3)."""
        return self.base == other.base

    def surviving(self, aliases: Mapping[str, str]) -> Isil:
        """Return the library that this one merged into, or itself (R3).

        `aliases` maps the base of a merged library to the base of the library that it is part of now. A
        library may merge several times, so aliases are followed to the end. If they form a cycle, the
        ISIL is returned unchanged.
        """
        base = self.base
        seen = {base}
        while (into := aliases.get(base)) is not None:
            base = into
            if base in seen:
                return self
            seen.add(base)
        return self if base == self.base else Isil(base)

    def __str__(self) -> str:
        return self.code


def isil_base(text: str) -> str:
    """Return the base of the ISIL in `text`: `NL-` and six digits. Raises MalformedIsil."""
    return Isil.parse(text).base


def usual_isil(text: str) -> str:
    """Return the ISIL that a person typed in a usual form, as it is written in full; other text trimmed.

    `070288`, `nl 070288` and `NL070288` are NL-070288. `Isil.parse` refuses them: programs write it in full.
    """
    typed = text.strip()
    found = _USUAL_ISIL.fullmatch(typed)
    return f"NL-{found[1]}" if found else typed


def canonical_card_number(text: str) -> str:
    """Return the card number in `text`, with its leading zeros (R1).

    Only spaces are trimmed. A CR, a tab or any other control character is refused, because the number is sent
    in a line protocol. Raises MalformedCardNumber.
    """
    card_number = text.strip(" ")
    if _CARD_NUMBER.fullmatch(card_number) is None:
        raise MalformedCardNumber
    return card_number


class ScanFault(StrEnum):
    """What a scanner seems to have done to a card number. It is a hint: no number is changed."""

    START_STOP = "start-stop-signs"
    TWICE = "scanned-twice"


def scan_fault(text: str) -> ScanFault | None:
    """Return what seems wrong with a scanned text; None if nothing does.

    Codabar has A to D (also written T, N, * and E) before and behind the number, Code 39 has *. Some scanners
    send these signs too.
    """
    scanned = "".join(text.split())
    half = len(scanned) // 2
    if half >= _SHORTEST_TWICE and scanned[:half] == scanned[half:]:
        return ScanFault.TWICE
    return ScanFault.START_STOP if _WITH_START_AND_STOP.fullmatch(scanned) else None


def prefix_readings(card_number: str) -> tuple[str, ...]:
    """Return the prefixes under which the card-prefix table may list this card (R2), without repeats.

    First digits 2-5, then digits 1-4, for cards without a leading digit. The card does not show which of
    the two applies, so both are looked up. A reading that is not four digits cannot be in the table.
    """
    readings = (card_number[1:5], card_number[0:4])
    return tuple(dict.fromkeys(reading for reading in readings if _PREFIX.fullmatch(reading)))


def is_prefix(text: str) -> bool:
    """Return whether `text` has the form of a card prefix: four digits (R2)."""
    return _PREFIX.fullmatch(text) is not None


def person_ref(key: bytes, home_isil_base: str, card_number: str) -> str:
    """Return the person reference of the holder of a card: HMAC-SHA-256, 64 hexadecimal digits.

    `home_isil_base` is the ISIL's six-digit base (R3), `card_number` the canonical number (R1). Both services
    hold the same key, so both compute the same reference. The card number cannot be found from it without the
    key.
    """
    # Neither part can contain "|", so two different pairs never have the same text.
    pair = f"{home_isil_base}|{card_number}"
    return hmac.digest(key, pair.encode(), "sha256").hex()
