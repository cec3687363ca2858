"""Find the home library: from the card, or by name and ISIL (R2)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from registration.application.dependencies import Dependencies, ListedLibrary
from registration.domain.errors import Candidate, UnknownHomeLibrary
from registration.domain.text_matching import words_of
from shared.kernel.library_card import Isil, canonical_card_number, prefix_readings


@dataclass(frozen=True, slots=True)
class HomeLibraryMatch:
    """*one*: filled in. *ambiguous*: the clerk chooses a candidate. *none*: the clerk types the ISIL."""

    match: Literal["one", "ambiguous", "none"]
    candidates: Sequence[Candidate]


async def look_up_home_library(card_number: str, deps: Dependencies) -> HomeLibraryMatch:
    """Look up both readings of the card's prefix. Raises MalformedCardNumber."""
    readings = prefix_readings(canonical_card_number(card_number))
    found = await deps.card_prefixes.candidates(readings)
    candidates = as_they_are_now(found, deps.isil_aliases)
    if not candidates:
        return HomeLibraryMatch("none", ())
    return HomeLibraryMatch("one" if len(candidates) == 1 else "ambiguous", candidates)


def as_they_are_now(found: Sequence[Candidate], aliases: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Return the libraries without repeats; a merged one appears as the one that it is part of now (R3)."""
    now: dict[str, Candidate] = {}
    for candidate in found:
        known = Isil.parse(candidate.isil)
        current = known.surviving(aliases)
        if current.same_library(known):
            now[current.base] = candidate
        else:
            now.setdefault(current.base, replace(candidate, isil=str(current)))
    return tuple(now.values())


MOST_FOUND = 20  # clerks do not read more: they type another letter


@dataclass(frozen=True, slots=True)
class CardPrefix:
    """A card prefix of a library. `is_shared`: other libraries have it, too."""

    digits: str
    is_shared: bool


@dataclass(frozen=True, slots=True)
class FoundLibrary:
    """A library as a clerk compares it with a card: a row of the counter manual's table.

    `organisation`: its code; empty for a library that is only in the settings, which has no prefixes and no
    `updated_on` either. `standing`: it can be asked, it is the clerk's own (R11), or it cannot be asked.
    """

    isil: str
    name: str
    place: str
    organisation: str
    updated_on: date | None
    prefixes: Sequence[CardPrefix]
    standing: Literal["can-be-asked", "own", "cannot-be-asked"]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one library, under all ISILs that it had (R3)."""

    isil: str
    listed: Sequence[ListedLibrary]
    name: str

    @property
    def place(self) -> str:
        return next((library.place for library in self.listed if library.place), "")

    def fits(self, text: str) -> bool:
        """Return whether the text is the beginning of an ISIL or of a card of it, or words of its name."""
        if numbers := _NUMBERS.fullmatch(text.strip()):
            digits = "".join(numbers["digits"].split())
            if self._has_isil(digits) or (not numbers["nl"] and self._has_card(digits)):
                return True
        names = [self.name, *(f"{library.name} {library.place}" for library in self.listed)]
        known, words = " ".join(word for name in names for word in words_of(name)), words_of(text)
        return bool(words) and all(word in known for word in words)

    def _has_isil(self, digits: str) -> bool:
        known = {isil.removeprefix("NL-") for isil in (self.isil, *(old.isil for old in self.listed))}
        return any(isil.startswith(digits) or digits.startswith(isil) for isil in known)

    def _has_card(self, digits: str) -> bool:
        beginnings = (digits,) if len(digits) <= _PREFIX_LENGTH else prefix_readings(digits)
        return any(prefix.startswith(beginnings) for prefix in _prefixes_of(self))


_PREFIX_LENGTH = 4
_NUMBERS = re.compile(r"(?P<nl>NL[\s\-\u2010-\u2015]*)?(?P<digits>[0-9][0-9\s]*)", re.IGNORECASE)


async def search_home_libraries(text: str, organisation: str, deps: Dependencies) -> Sequence[FoundLibrary]:
    """Find libraries for a clerk of this organisation, those that can be asked first, then by name.

    `text`: digits of a card, parts of the name and the place, or the beginning of an ISIL. Case, accents and
    the form of the ISIL make no difference. Returns at most one more than MOST_FOUND. A text without letters
    and digits finds nothing.
    """
    if not words_of(text):
        return ()
    known = _known_libraries(await deps.card_prefixes.libraries(), deps)
    used = Counter(prefix for library in known for prefix in _prefixes_of(library))
    own = deps.organisations.get(organisation)
    own_bases = {Isil.parse(isil).surviving(deps.isil_aliases).base for isil in own.isils} if own else set()
    found = [_found(library, used, own_bases, deps) for library in known if library.fits(text)]
    order = {"can-be-asked": 0, "own": 1, "cannot-be-asked": 1}
    return sorted(found, key=lambda row: (order[row.standing], row.name.casefold(), row.isil))[
        : MOST_FOUND + 1
    ]


def library_names(listed: Sequence[ListedLibrary], deps: Dependencies) -> Mapping[str, str]:
    """Return the name, with the place if it is known, of each library: ISIL base -> name.

    `listed`: the libraries of the table; those of the settings have names too. A library that merged has the
    name of the one that it is part of now (R3).
    """
    names: dict[str, str] = {}
    for library in _known_libraries(listed, deps):
        place = library.place
        shown = f"{library.name}, {place}" if place and place not in library.name else library.name
        bases = {Isil.parse(isil).base for isil in (library.isil, *(old.isil for old in library.listed))}
        names |= dict.fromkeys(bases, shown)
    for alias in deps.isil_aliases:
        if (now := names.get(Isil(alias).surviving(deps.isil_aliases).base)) is not None:
            names.setdefault(alias, now)
    return names


def _known_libraries(listed: Sequence[ListedLibrary], deps: Dependencies) -> Sequence[_Known]:
    """Return the libraries of the table and those of the settings, each one as it is now (R3)."""
    by_base: dict[str, list[ListedLibrary]] = {}
    for library in listed:
        by_base.setdefault(Isil.parse(library.isil).surviving(deps.isil_aliases).base, []).append(library)
    return [
        _known(base, by_base.get(base, []), deps.home_library_names.get(base, ""))
        for base in sorted({*by_base, *deps.home_library_names})
    ]


def _known(base: str, listed: Sequence[ListedLibrary], name: str) -> _Known:
    """Return one library. `listed`: its lines in the table, also those of libraries that merged into it."""
    first = sorted(listed, key=lambda library: Isil.parse(library.isil).base != base)
    is_listed = bool(first) and Isil.parse(first[0].isil).base == base
    return _Known(
        first[0].isil if is_listed else base, first, name or next((row.name for row in first), base)
    )


def _prefixes_of(library: _Known) -> Sequence[str]:
    return sorted({prefix for listed in library.listed for prefix in listed.prefixes})


def _found(library: _Known, used: Counter[str], own_bases: Set[str], deps: Dependencies) -> FoundLibrary:
    if Isil.parse(library.isil).base in own_bases:
        standing: Literal["can-be-asked", "own", "cannot-be-asked"] = "own"
    else:
        standing = "can-be-asked" if _can_be_asked(library.isil, deps) else "cannot-be-asked"
    return FoundLibrary(
        isil=library.isil,
        name=library.name,
        place=library.place,
        organisation=library.listed[0].organisation if library.listed else "",
        updated_on=max((listed.updated_on for listed in library.listed), default=None),
        prefixes=[CardPrefix(prefix, used[prefix] > 1) for prefix in _prefixes_of(library)],
        standing=standing,
    )


def _can_be_asked(isil: str, deps: Dependencies) -> bool:
    try:
        deps.home_libraries.connections(isil)
    except UnknownHomeLibrary:
        return False
    return True
