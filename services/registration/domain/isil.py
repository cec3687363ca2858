"""ISIL: the international code of a library (R3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from registration.domain.errors import MalformedIsil

_ISIL = re.compile(r"NL-[0-9]{6}(?:[0-9]{4})?")
_BASE_LENGTH = len("NL-") + 6


@dataclass(frozen=True, slots=True)
class Isil:
    """A well-formed ISIL, upper-case. Make one with `Isil.parse`; `str()` gives it back."""

    code: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what a clerk typed, in either case. Raises MalformedIsil (`L-070288` is malformed)."""
        code = text.strip(" ").upper()
        if _ISIL.fullmatch(code) is None:
            raise MalformedIsil
        return cls(code)

    @property
    def base(self) -> str:
        """`NL-` and six digits: what two ISILs are compared on, whatever the location behind it."""
        return self.code[:_BASE_LENGTH]

    def same_library(self, other: "Isil") -> bool:
        """R3: equal on the six-digit base."""
        return self.base == other.base

    def surviving(self, aliases: Mapping[str, str]) -> "Isil":
        """The library that this one merged into, or itself (R3).

        `aliases` maps the base of a merged library to the base of the one it is part of now; a library may
        have merged several times over, so the trail is followed to its end. A trail that bites its own tail
        names no survivor, and the ISIL stays what it was.
        """
        base = self.base
        seen = {base}
        while base in aliases:
            base = aliases[base]
            if base in seen:
                return self
            seen.add(base)
        return self if base == self.base else Isil(base)

    def __str__(self) -> str:
        return self.code
